package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"millrace/internal/config"
	"millrace/internal/up"
)

func newUp() *cobra.Command {
	cmd := &cobra.Command{Use: "up", Short: "Run everything in one process", Args: cobra.NoArgs}
	runParts(cmd, up.All(), func(path string, _ []string) (*config.Config, error) { return loadConfig(path) })
	return cmd
}

func newProduce() *cobra.Command {
	cmd := &cobra.Command{
		Use: "produce [SOURCE...]", Short: "Send the changes of the sources to Kafka",
		Long: `Send the changes of the sources to Kafka: of those that are named, or of all.

The DSNs of sources that are not named are not needed here. Each source is
captured by one process: one that starts takes a source over, and the one before
ends.`,
	}
	runParts(cmd, up.Parts{Produce: true}, func(path string, sources []string) (*config.Config, error) {
		if len(sources) == 0 {
			return loadConfig(path)
		}
		return loadOpening(path, sources...)
	})
	return cmd
}

func newConsume() *cobra.Command {
	cmd := &cobra.Command{
		Use: "consume [GROUP...]", Short: "Load the topics into core tables",
		Long: `Load the topics into core tables: as a member of the groups that are named, or
of all.

The configuration's groups: say which core tables a group has; those that no
other has are in the group default. Members of a group share its tables. No DSN is
needed.`,
	}
	runParts(cmd, up.Parts{Consume: true}, func(path string, _ []string) (*config.Config, error) { return loadOpening(path) })
	return cmd
}

func newDerive() *cobra.Command {
	cmd := &cobra.Command{
		Use: "derive [TABLE...]", Short: "Keep the derived tables up to date",
		Long: `Keep the derived tables up to date: those that are named, as dataset.table, or
all. No DSN is needed.

A derived table has one writer. With --revision, a process takes a table over only
if no later revision has had it. A process whose tables have all been taken over
ends with 1.`,
	}
	revision := cmd.Flags().Int64("revision", 0, "the revision of the specs, from 1; default: the one that each table has")
	runParts(cmd, up.Parts{Derive: true}, func(path string, _ []string) (*config.Config, error) {
		if cmd.Flags().Changed("revision") && *revision < 1 {
			return nil, errors.New("--revision: write a number from 1")
		}
		return loadOpening(path)
	})
	return cmd
}

// runParts has a command run parts of Millrace until it is told to end.
func runParts(cmd *cobra.Command, parts up.Parts, load func(path string, only []string) (*config.Config, error)) {
	path, level := configFlag(cmd), logFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, only []string) error {
		conf, err := load(*path, only)
		if err != nil {
			return err
		}
		log, err := newLog(cmd.ErrOrStderr(), *level)
		if err != nil {
			return err
		}
		o := up.Options{
			Config: conf, Parts: parts, Only: only, Version: version, Log: log,
			Started: func(f up.RunFile) {
				fmt.Fprintf(cmd.OutOrStdout(), "millrace %s: http://%s/\n", cmd.Name(), f.HTTP)
			},
		}
		if revision := cmd.Flags().Lookup("revision"); revision != nil {
			o.Revision, _ = cmd.Flags().GetInt64("revision")
		}
		return up.Run(cmd.Context(), o)
	}
}
