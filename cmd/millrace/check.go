package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"millrace/internal/up"
)

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Report every fault of the configuration, its sources and the specs at once", Args: cobra.NoArgs,
		Long: `Report every fault of the configuration, its sources and the specs at once.

Each source is asked whether it can be captured as configured: its settings, the
tables, their keys and columns. Nothing is made or changed there. What it or you
must change is a fault, and the command ends with 1. A source that does not
answer within 5 seconds is printed as "not checked", which alone is no fault: it
may be out of reach from here only. So are Kafka and the registry, if they are
configured: a login or a certificate that is refused is a fault. BigQuery, if that
is the warehouse, must answer: it reads the specs' queries. It is asked for the
project, the location, the right to make jobs, the write path, and whether its
tables are those of this prefix. That costs nothing. With --derived alone nothing
is asked of anybody.`,
	}
	path := cmd.Flags().String("config", "", "the configuration; default: millrace.yaml, unless --derived is given")
	folder := cmd.Flags().String("derived", "", "the folder of the specs; default: the configuration's")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *path == "" && *folder == "" {
			*path = "millrace.yaml"
		}
		checked, err := up.Check(cmd.Context(), up.CheckOptions{Config: *path, Derived: *folder, Env: os.LookupEnv})
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "no faults in %s, %s and %s\n",
			share(checked.Sources, "source"), share(checked.Tables, "table"), counted(checked.Specs, "spec"))
		for _, note := range checked.Notes {
			fmt.Fprintln(cmd.OutOrStdout(), "note: "+note)
		}
		for _, what := range checked.Unchecked {
			fmt.Fprintln(cmd.OutOrStdout(), "not checked: "+what)
		}
		return nil
	}
	return cmd
}

// share says of how many only some could be asked.
func share(s up.Share, what string) string {
	if s.Asked == s.Of {
		return counted(s.Of, what)
	}
	return fmt.Sprintf("%d of %s", s.Asked, counted(s.Of, what))
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
