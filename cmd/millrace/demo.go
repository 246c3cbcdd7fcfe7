package main

import (
	"os"

	"github.com/spf13/cobra"

	"millrace/internal/demo"
)

func newDemo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show everything on databases of its own, and prove it by comparison",
		Long: "Show everything on databases of its own, and prove it by comparison. Of MongoDB it\n" +
			"starts none: it makes a database in the one that MONGODB_URI names, and drops it in\n" +
			"the end. What a database that is missing would hold lives in another.",
		Args: cobra.NoArgs,
	}
	keep := cmd.Flags().Bool("keep", false, "leave everything running in the end, until interrupted")
	without := cmd.Flags().StringSlice("without", nil, "databases to do without: mongodb, mysql, mariadb; what they would hold lives elsewhere")
	warehouse := cmd.Flags().String("warehouse", "", "a file with the section warehouse: of a configuration, to be used in place of DuckDB; what is made there stays")
	seed := cmd.Flags().Uint64("seed", 1, "of the random changes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return demo.Run(cmd.Context(), demo.Options{
			Out: cmd.OutOrStdout(), Keep: *keep, Warehouse: *warehouse, Seed: *seed, Without: *without, MongoDB: os.Getenv("MONGODB_URI"),
		})
	}
	return cmd
}
