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
	warehouse := cmd.Flags().String("warehouse", "", "a file with the section warehouse: of a configuration, to be used in place of DuckDB; what is made there stays")
	seed := cmd.Flags().Uint64("seed", 1, "of the random changes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return demo.Run(cmd.Context(), demo.Options{Out: cmd.OutOrStdout(), Keep: *keep, Warehouse: *warehouse, WithoutMariaDB: *narrow, Seed: *seed})
	}
	return cmd
}
