package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/internal/config"
	"millrace/internal/invalid"
	"millrace/internal/privateserver"
	"millrace/loadtest/report"
	"millrace/loadtest/scenario"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailed  = 1 // something was lost, duplicated or wrong, or the run did not end in order
	exitUsage   = 2 // the command line or a file cannot be read
	exitMissing = 3 // a server is not installed
)

// errUnsound is the reason when the accounting found a fault, which the table
// shows.
var errUnsound = errors.New("rows were lost, duplicated or wrong")

// version is that of Millrace, set by the linker.
var version string

// run executes the command and returns the exit code.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	root := &cobra.Command{
		Use: "loadtest", Short: "Measure whole paths through Millrace, each beside its limit, and account for every row",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetOut(out)
	root.SetErr(errs)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newList(), newRun(), newCompare())
	root.SetArgs(args)
	return exitOf(root.ExecuteContext(ctx), errs)
}

// exitOf tells the error and returns the exit code that belongs to it.
func exitOf(err error, errs io.Writer) int {
	var faults invalid.Faults
	var missing *privateserver.MissingError
	var failed *runError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &faults):
		fmt.Fprintln(errs, faults.Error())
		return exitUsage
	case errors.As(err, &missing):
		fmt.Fprintln(errs, "loadtest: "+missing.Error())
		return exitMissing
	case errors.As(err, &failed):
		fmt.Fprintln(errs, "loadtest: "+err.Error())
		return exitFailed
	}
	fmt.Fprintln(errs, "loadtest: "+err.Error())
	return exitUsage
}

// runError is an error of a run, not of the command line.
type runError struct{ error }

func (e *runError) Unwrap() error { return e.error }

// exactly takes that many arguments, named as in the usage.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return fmt.Errorf("%s takes %s: %d given", cmd.CommandPath(), strings.Join(names, " and "), len(args))
		}
		return nil
	}
}

func newList() *cobra.Command {
	var show string
	cmd := &cobra.Command{
		Use: "list", Short: "Name the scenarios; --show prints the file of one, to copy", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if show != "" {
				if _, err := scenario.Find(show); err != nil {
					return err
				}
				text, err := scenario.Text(show)
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			for _, name := range scenario.Names() {
				f, err := scenario.Find(name)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-20s %s\n", name, f.About)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&show, "show", "", "the scenario whose file is printed")
	return cmd
}

func newRun() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use: "run SCENARIO", Short: "Run a scenario, by its name or from a file that ends in .yaml", Args: exactly("one scenario, by its name (loadtest list) or from a file"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.DurationVar(&o.duration, "duration", 0, "how long changes are made, in place of what the scenario says")
	f.IntVar(&o.rows, "rows", 0, "how many changes or rows, in place of what the scenario says")
	f.StringVar(&o.rate, "rate", "", "changes a second, such as 2000/s, in place of what the scenario says")
	f.StringVar(&o.kafka, "kafka", "embedded", "embedded, or real: Apache Kafka, by scripts/kafka.sh")
	f.StringVar(&o.config, "config", "", "a configuration of Millrace whose brokers, DSNs and warehouse are used in place of private ones")
	f.StringVar(&o.out, "out", "", "a folder for results.json, report.md, report.html and bench.txt")
	f.BoolVar(&o.json, "json", false, "print one JSON object, and nothing else, on standard output")
	f.BoolVar(&o.profile, "profile", false, "write CPU and heap profiles of Millrace into --out")
	f.DurationVar(&o.patience, "patience", 10*time.Minute, "how long anything may take before the run is given up")
	return cmd
}

type runOptions struct {
	duration, patience       time.Duration
	rows                     int
	rate, kafka, config, out string
	json, profile            bool
}

func (o *runOptions) run(cmd *cobra.Command, name string) error {
	file, err := scenario.Find(name)
	if err != nil {
		return err
	}
	change := scenario.Change{Rows: o.rows, Duration: o.duration}
	if o.rate != "" {
		if change.Rate, err = scenario.ParseRate(o.rate); err != nil {
			return fmt.Errorf("--rate: %w: write changes a second, such as 2000/s", err)
		}
	}
	flags := cmd.Flags()
	switch {
	case flags.Changed("rows") && o.rows <= 0 || flags.Changed("duration") && o.duration <= 0:
		return errors.New("--rows and --duration: write more than zero, or leave them out to have the scenario's")
	case o.kafka != "embedded" && o.kafka != scenario.RealKafka:
		return fmt.Errorf("--kafka %s: write embedded or real", o.kafka)
	case o.profile && o.out == "":
		return errors.New("--profile: say with --out where the profiles go")
	}
	opts := scenario.Options{Kafka: o.kafka, Profile: o.profile, Patience: o.patience, Version: version}
	if o.config != "" {
		if opts.Config, err = config.Load(o.config, os.LookupEnv); err != nil {
			return err
		}
		if o.kafka == scenario.RealKafka && len(opts.Config.Kafka.Brokers) > 0 {
			return fmt.Errorf("--kafka real: %s names brokers: leave out the flag, or the brokers", o.config)
		}
	}
	made := ""
	if o.out != "" {
		if opts.Out, err = filepath.Abs(o.out); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		if _, err := os.Stat(opts.Out); errors.Is(err, fs.ErrNotExist) {
			made = opts.Out
		}
		if err := os.MkdirAll(opts.Out, 0o755); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	for _, idle := range file.Idle(change) {
		fmt.Fprintf(cmd.ErrOrStderr(), "loadtest: --%s says nothing to %s, which is of kind %s\n", idle, file.Name, file.Kind)
	}
	if opts.Config != nil && file.Source != "" && scenario.Configured(opts.Config, file.Source) == "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "loadtest: %s names no source of kind %s, so the run has one of its own\n", o.config, file.Source)
	}
	shown := newProgress(cmd.ErrOrStderr())
	opts.Tell = shown.tell
	result, err := scenario.Run(cmd.Context(), file.With(change), opts)
	shown.end()
	if err != nil {
		if made != "" {
			_ = os.Remove(made) // only if it is empty: a folder without a report says nothing
		}
		return &runError{err}
	}
	return o.finish(cmd, result)
}

// finish shows the result, also of a run that was not sound, which it then says.
func (o *runOptions) finish(cmd *cobra.Command, result *report.Result) error {
	if err := o.show(cmd, result); err != nil {
		return &runError{err}
	}
	if !result.OK {
		return &runError{fmt.Errorf("%s: %w", result.Scenario, errUnsound)}
	}
	return nil
}

func (o *runOptions) show(cmd *cobra.Command, result *report.Result) error {
	if o.out != "" {
		if err := result.Write(o.out); err != nil {
			return err
		}
	}
	if !o.json {
		return result.Table(cmd.OutOrStdout())
	}
	text, err := result.JSON()
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}

func newCompare() *cobra.Command {
	return &cobra.Command{
		Use: "compare BEFORE AFTER", Short: "Put two results of a scenario side by side", Args: exactly("a result BEFORE", "a result AFTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, err := report.Read(args[0])
			if err != nil {
				return err
			}
			after, err := report.Read(args[1])
			if err != nil {
				return err
			}
			return report.Compare(cmd.OutOrStdout(), before, after)
		},
	}
}
