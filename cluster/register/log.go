package register

import (
	"fmt"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// raftLog takes raft's lines to zap, all of them for debugging: what raft calls errors is mostly a
// node that is gone, said several times a second. What operators need is said by life and by disk.
type raftLog struct {
	hclog.Logger // takes what is not here, and drops it
	log          *zap.Logger
	args         []any
}

func newRaftLog(log *zap.Logger) hclog.Logger {
	return &raftLog{Logger: hclog.NewNullLogger(), log: log}
}

func (l *raftLog) Log(level hclog.Level, msg string, args ...any) {
	if !l.log.Core().Enabled(zapcore.DebugLevel) {
		return
	}
	fields := []zap.Field{zap.String("raft_level", level.String()), zap.String("detail", msg)}
	all := append(l.args[:len(l.args):len(l.args)], args...)
	for i := 0; i+1 < len(all); i += 2 {
		key, ok := all[i].(string)
		if !ok {
			key = fmt.Sprint(all[i])
		}
		value := all[i+1]
		if f, ok := value.(hclog.Format); ok && len(f) > 0 {
			if layout, ok := f[0].(string); ok {
				value = fmt.Sprintf(layout, f[1:]...)
			}
		}
		fields = append(fields, zap.String("raft_"+key, fmt.Sprint(value)))
	}
	l.log.Debug("raft", fields...)
}

func (l *raftLog) Trace(string, ...any)          {}
func (l *raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLog) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLog) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLog) IsDebug() bool { return l.log.Core().Enabled(zapcore.DebugLevel) }

func (l *raftLog) With(args ...any) hclog.Logger {
	return &raftLog{Logger: l.Logger, log: l.log, args: append(l.args[:len(l.args):len(l.args)], args...)}
}

func (l *raftLog) Named(string) hclog.Logger      { return l }
func (l *raftLog) ResetNamed(string) hclog.Logger { return l }
