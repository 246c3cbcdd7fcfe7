package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"millrace/internal/config"
	"millrace/internal/invalid"
	"millrace/internal/page"
	"millrace/internal/up"
)

// version is set by the linker.
var version = "dev"

func newRoot(out, errs io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "millrace",
		Short:         "Keep a warehouse a faithful, fresh copy of many databases, and derive tables from it",
		Version:       versionLine(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(out)
	root.SetErr(errs)
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		newUp(), newInit(), newProduce(), newConsume(), newDerive(), newRegistry(), newCheck(), newShow(), newStatus(), newSQL(), newVerify(), newDemo(), newVersion(),
	)
	return root
}

// printError prints faults one a line, as their files' editors want them, and
// any other error as one line.
func printError(errs io.Writer, err error) {
	var faults invalid.Faults
	if errors.As(err, &faults) {
		fmt.Fprintln(errs, faults.Error())
		return
	}
	fmt.Fprintln(errs, "millrace: "+err.Error())
}

// configFlag adds --config.
func configFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("config", "millrace.yaml", "the configuration")
}

func loadConfig(path string) (*config.Config, error) { return config.Load(path, os.LookupEnv) }

// loadOpening is loadConfig for a process that opens these sources alone, and so
// needs the DSNs of no others.
func loadOpening(path string, sources ...string) (*config.Config, error) {
	return config.LoadFor(path, os.LookupEnv, func(source string) bool { return slices.Contains(sources, source) })
}

// logFlag adds --log.
func logFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("log", "info", "how much is logged: debug, info, warn or error")
}

func newLog(errs io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log %s: write debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(errs, &slog.HandlerOptions{Level: l})), nil
}

// addressFlag adds --address.
func addressFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("address", "", "host:port of the process to ask; default: the one that runs on the configuration's data folder")
}

// running finds the process at the address, or that runs on the configuration's
// data folder.
func running(path, address string) (*page.Client, error) {
	if address != "" {
		return &page.Client{Addr: address}, nil
	}
	data, err := config.DataFolder(path, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	f, err := up.Find(data)
	if err != nil {
		return nil, err
	}
	return &page.Client{Addr: f.HTTP}, nil
}

// one takes a single argument, and says which.
func one(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%s takes %s: %d given", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}
