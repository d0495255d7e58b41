package process

import (
	"os"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/roomring/roomring/internal/settings"
)

// Of each kind of line, which is its level and message, so many are written in a second, and of the
// rest each thereafter-th: a flood of one kind can neither fill a disk nor hide another kind.
const (
	firstLines = 100
	thereafter = 1000
)

// Logger writes to f as the settings say: JSON for machines, a line each, columns for a person at a
// terminal. Every line has time, level, message and self, the id of this node; "node" is whom it is about.
func Logger(f *os.File, n *settings.Node) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(n.LogLevel)
	if err != nil {
		return nil, err
	}
	config := zap.NewProductionEncoderConfig()
	config.TimeKey, config.MessageKey, config.EncodeTime = "time", "message", utcTime
	encoder := zapcore.NewJSONEncoder(config)
	if n.LogFormat == "console" || n.LogFormat == "auto" && Terminal(f) {
		config.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		config.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(config)
	}
	core := sampled{dropped: new(atomic.Uint64)}
	core.Core = zapcore.NewSamplerWithOptions(zapcore.NewCore(encoder, zapcore.Lock(plain{f}), level),
		time.Second, firstLines, thereafter, zapcore.SamplerHook(core.count))
	return zap.New(core).With(zap.String("self", n.ID)), nil
}

// utcTime is ISO 8601 to the microsecond, alike on machines of all time zones.
func utcTime(t time.Time, to zapcore.PrimitiveArrayEncoder) {
	to.AppendString(t.UTC().Format("2006-01-02T15:04:05.000000Z"))
}

// Dropped tells how many lines have been left out so far by a Logger of this package, or by one made
// from it. Of others it knows nothing.
func Dropped(log *zap.Logger) uint64 {
	core, ok := log.Core().(sampled)
	if !ok {
		return 0
	}
	return core.dropped.Load()
}

// sampled counts what its sampler leaves out.
type sampled struct {
	zapcore.Core
	dropped *atomic.Uint64
}

func (s sampled) count(_ zapcore.Entry, decision zapcore.SamplingDecision) {
	if decision&zapcore.LogDropped != 0 {
		s.dropped.Add(1)
	}
}

// With keeps the counter.
func (s sampled) With(fields []zapcore.Field) zapcore.Core {
	return sampled{s.Core.With(fields), s.dropped}
}

// plain writes lines of which everything can be seen. The encoders escape what JSON forbids; what is left
// may come from outside and hide, turn around or overwrite what stands beside it on a terminal: C1
// controls, marks that change the direction of text, spaces without width. It becomes \uXXXX, which reads
// as the same in JSON.
type plain struct{ zapcore.WriteSyncer }

// Write writes one line.
func (p plain) Write(line []byte) (int, error) {
	clean := line
	for i, b := range line {
		if (b < ' ' || b > '~') && b != '\n' && b != '\t' {
			clean = appendPlain(append(make([]byte, 0, len(line)+64), line[:i]...), line[i:])
			break
		}
	}
	if n, err := p.WriteSyncer.Write(clean); err != nil {
		return min(n, len(line)), err
	}
	return len(line), nil
}

func appendPlain(to, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case unicode.IsPrint(r) && (r != utf8.RuneError || size > 1), r == '\n', r == '\t':
			to = append(to, text[:size]...)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			to = appendUnit(appendUnit(to, high), low)
		default:
			to = appendUnit(to, r)
		}
		text = text[size:]
	}
	return to
}

func appendUnit(to []byte, unit rune) []byte {
	const digits = "0123456789abcdef"
	return append(to, '\\', 'u', digits[unit>>12&15], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}
