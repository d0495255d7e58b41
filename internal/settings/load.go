package settings

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Program is what the loader needs of the world. It is a value so that tests can be the world.
type Program struct {
	// Name is the binary's name, for help and complaints.
	Name string
	// Version is what --version prints.
	Version string
	// Getenv returns an environment variable, "" when it is not set. An empty variable counts as not
	// set. If nil, the environment is empty.
	Getenv func(string) string
	// Stdout takes --help, --version and --print-config. If nil, they are discarded.
	Stdout io.Writer
}

// ErrDone says that the program was asked for a text (--help, --version, --print-config), that the
// text is printed and that nothing is left to do.
var ErrDone = errors.New("done")

// UsageError is a mistake in what the operator said. The program ends with code 2.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what was wrong.
func (e *UsageError) Unwrap() error { return e.Err }

// EnvPrefix starts the environment variable of every setting.
const EnvPrefix = "ROOMRING_"

// EnvName returns the environment variable of a flag: ROOMRING_MAX_MESSAGE for max-message.
func EnvName(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// LoadRouter reads a router's settings. The error is ErrDone or a *UsageError.
func LoadRouter(p Program, args []string) (*Router, error) {
	r := &Router{}
	s := source{program: p, role: "router", other: &Shard{}}
	if err := s.load(r, &r.Node, args); err != nil {
		return nil, err
	}
	s.check(func() error { return s.checkRouter(r) })
	return r, s.finish(&r.Node)
}

// LoadShard reads a shard's settings. The error is ErrDone or a *UsageError.
func LoadShard(p Program, args []string) (*Shard, error) {
	h := &Shard{}
	s := source{program: p, role: "shard", other: &Router{}}
	if err := s.load(h, &h.Node, args); err != nil {
		return nil, err
	}
	s.check(func() error { return s.checkShard(h) })
	return h, s.finish(&h.Node)
}

// source finds values for flags and remembers where each came from.
type source struct {
	program Program
	role    string
	other   any // the settings of the other kind of node, for a better complaint

	parser *kong.Kong
	flags  []*kong.Flag
	file   file
	read   bool              // file was read, if there is one
	from   map[string]string // flag name → where its value came from; without an entry it is the default
	chosen map[string]string // flag name → why this value, where a default had to be worked out
	err    error
}

var descriptions = map[string]string{
	"router": "Holds clients' WebSockets and passes messages between them and the shards that own the rooms.\nAny number of routers serve the same rooms; clients may connect to any of them.",
	"shard":  "Owns a part of the rooms: gives each message its place and remembers the last ones.\nShards find each other by gossip and share the rooms among them.",
}

var examples = map[string]string{
	"router": `Example: a router that joins the shards on this machine, and one that others can reach:
  roomring-router --join 127.0.0.1:7401
  roomring-router --join shards.internal:7401 --cluster-key-file /etc/roomring/key --advertise 10.0.0.5 \
    --link 0.0.0.0:8003 --gossip 0.0.0.0:8002 --listen 0.0.0.0:8000 --auth none`,
	"shard": `Example: two shards on this machine, and one that others can reach:
  roomring-shard
  roomring-shard --join 127.0.0.1:7401 --link 127.0.0.1:7410 --gossip 127.0.0.1:7411 --admin 127.0.0.1:7412
  roomring-shard --join shards.internal:7401 --cluster-key-file /etc/roomring/key --advertise 10.0.0.7 \
    --link 0.0.0.0:7400 --gossip 0.0.0.0:7401`,
}

var addresses = map[string]kong.Vars{
	"router": {"role": "router", "link": "127.0.0.1:8003", "gossip": "127.0.0.1:8002", "admin": "127.0.0.1:8001"},
	"shard":  {"role": "shard", "link": "127.0.0.1:7400", "gossip": "127.0.0.1:7401", "admin": "127.0.0.1:7402"},
}

// load fills settings from args, environment, file and defaults, in this order of precedence.
func (s *source) load(settings any, node *Node, args []string) error {
	if s.program.Stdout == nil {
		s.program.Stdout = io.Discard
	}
	if s.program.Getenv == nil {
		s.program.Getenv = func(string) string { return "" }
	}
	s.from, s.chosen = map[string]string{}, map[string]string{}
	helped := false
	parser, err := kong.New(settings,
		kong.Name(s.program.Name), kong.Description(descriptions[s.role]), addresses[s.role],
		kong.Writers(s.program.Stdout, io.Discard), kong.Exit(func(int) { helped = true }),
		kong.Resolvers(kong.ResolverFunc(s.resolve)), kong.Help(HelpPrinter(examples[s.role]+"\n\n"+envHelp)))
	if err != nil {
		panic(fmt.Sprintf("settings: %v", err)) // a bug in the struct tags
	}
	s.parser = parser
	s.flags = flagsOf(parser)
	ctx, err := parser.Parse(args)
	if helped {
		return ErrDone
	}
	if err != nil {
		return &UsageError{s.explain(err)}
	}
	for _, step := range ctx.Path {
		if step.Flag != nil && !step.Resolved {
			s.from[step.Flag.Name] = "flag"
		}
	}
	if node.Version {
		fmt.Fprintf(s.program.Stdout, "%s %s\n", s.program.Name, s.program.Version)
		return ErrDone
	}
	return nil
}

const envHelp = `Every flag can also be set as ROOMRING_<FLAG> in the environment (ROOMRING_MAX_MESSAGE=32KiB) or in the
--config file (max-message: 32KiB). Flags win over the environment, the environment over the file.
Exit code: 0 good, 1 failed, 2 wrong use.`

func flagsOf(parser *kong.Kong) []*kong.Flag {
	var flags []*kong.Flag
	for _, flag := range parser.Model.Flags {
		if flag.Name != "help" {
			flags = append(flags, flag)
		}
	}
	return flags
}

func namesOf(flags []*kong.Flag) []string {
	var names []string
	for _, flag := range flags {
		if inFile(flag.Name) {
			names = append(names, flag.Name)
		}
	}
	return names
}

// inFile tells whether a flag makes sense in a file: questions to the program do not.
func inFile(name string) bool {
	return name != "config" && name != "print-config" && name != "version"
}

// resolve is asked by kong for each flag that is not on the command line.
func (s *source) resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	name := flag.Name
	if name == "help" || name == "version" || name == "print-config" {
		return nil, nil
	}
	if value := s.program.Getenv(EnvName(name)); value != "" {
		s.from[name] = EnvName(name)
		return value, nil
	}
	if name == "config" {
		return nil, nil
	}
	if err := s.readFile(ctx); err != nil {
		return nil, err
	}
	if value, ok := s.file[name]; ok {
		s.from[name] = "file"
		return value, nil
	}
	return nil, nil
}

// fileError keeps kong from putting the name of an innocent flag before the complaint.
type fileError struct{ error }

func (e fileError) Unwrap() error { return e.error }

func (s *source) readFile(ctx *kong.Context) error {
	if s.read {
		return nil
	}
	s.read = true
	name := s.program.Getenv(EnvName("config"))
	for _, step := range ctx.Path {
		if step.Flag != nil && step.Flag.Name == "config" {
			name, _ = ctx.FlagValue(step.Flag).(string)
		}
	}
	if name == "" {
		return nil
	}
	var err error
	if s.file, err = readFile(name, namesOf(s.flags), s.otherNames()); err != nil {
		return fileError{fmt.Errorf("--config: %w", err)}
	}
	return nil
}

func (s *source) otherNames() []string {
	parser, err := kong.New(s.other, addresses[s.role])
	if err != nil {
		panic(fmt.Sprintf("settings: %v", err)) // a bug in the struct tags
	}
	return namesOf(flagsOf(parser))
}

// explain adds to kong's complaint about a value where the value came from.
func (s *source) explain(err error) error {
	var bad fileError
	if errors.As(err, &bad) {
		return bad.error
	}
	for name, from := range s.from {
		if strings.HasPrefix(err.Error(), "--"+name+":") || strings.HasPrefix(err.Error(), "--"+name+"=") {
			return fmt.Errorf("%w (from %s)", err, s.place(from))
		}
	}
	return err
}

// place words where a value came from.
func (s *source) place(from string) string {
	if from == "file" {
		return "the --config file"
	}
	return from
}

// check runs a rule unless an earlier one was already broken.
func (s *source) check(rule func() error) {
	if s.err == nil {
		s.err = rule()
	}
}

// finish prints what took effect if that is asked, and returns the outcome.
func (s *source) finish(node *Node) error {
	if s.err != nil {
		return &UsageError{s.err}
	}
	if node.PrintConfig {
		s.print(s.program.Stdout)
		return ErrDone
	}
	return nil
}
