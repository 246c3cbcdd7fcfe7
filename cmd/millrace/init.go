package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"millrace/internal/up"
)

func newInit() *cobra.Command {
	cmd := &cobra.Command{
		Use: "init", Short: "Make the topics and datasets that the parts would make at their start", Args: cobra.NoArgs,
		Long: `Make the topics and datasets that the parts would make at their start, and say of
each whether it was made or was there, or who makes it later.

It may be run again at any time, and beside running parts. No DSN is needed:
nothing is made at the sources.`,
	}
	path, level := configFlag(cmd), logFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		conf, err := loadOpening(*path)
		if err != nil {
			return err
		}
		log, err := newLog(cmd.ErrOrStderr(), *level)
		if err != nil {
			return err
		}
		return up.Init(cmd.Context(), conf, log, func(t up.Thing) {
			fmt.Fprintf(cmd.OutOrStdout(), "%-6s %s\n", t.State, t.Name)
		})
	}
	return cmd
}
