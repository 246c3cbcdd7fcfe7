package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"millrace/internal/up"
)

func newCheck() *cobra.Command {
	cmd := &cobra.Command{Use: "check", Short: "Report every fault of the configuration and of the specs at once", Args: cobra.NoArgs}
	path := cmd.Flags().String("config", "", "the configuration")
	folder := cmd.Flags().String("derived", "", "the folder of the specs; default: the configuration's")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		checked, err := up.Check(cmd.Context(), up.CheckOptions{Config: *path, Derived: *folder, Env: os.LookupEnv})
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "no faults in %d sources, %d tables and %d specs\n", checked.Sources, checked.Tables, checked.Specs)
		for _, what := range checked.Unchecked {
			fmt.Fprintln(cmd.OutOrStdout(), "not checked: "+what)
		}
		return nil
	}
	return cmd
}
