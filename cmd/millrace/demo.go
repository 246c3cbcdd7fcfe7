package main

import (
	"github.com/spf13/cobra"

	"millrace/internal/demo"
)

func newDemo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show everything on databases of its own, and prove it by comparison",
		Args:  cobra.NoArgs,
	}
	keep := cmd.Flags().Bool("keep", false, "leave everything running in the end, until interrupted")
	narrow := cmd.Flags().Bool("without-mariadb", false, "keep the payments in PostgreSQL too")
	seed := cmd.Flags().Uint64("seed", 1, "of the random changes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return demo.Run(cmd.Context(), demo.Options{Out: cmd.OutOrStdout(), Keep: *keep, WithoutMariaDB: *narrow, Seed: *seed})
	}
	return cmd
}
