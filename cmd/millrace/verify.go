package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"millrace/internal/up"
)

// shownDifferences is how many differences are printed.
const shownDifferences = 20

func newVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify TABLE", Short: "Compare a table with its source, or with its query computed anew; nothing is written",
		Args: one("one table, such as core.orders"),
	}
	path, address := configFlag(cmd), addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		conf, err := loadConfig(*path)
		if err != nil {
			return err
		}
		report, err := up.Verify(cmd.Context(), conf, *address, args[0], func(sentence string) { fmt.Fprintln(cmd.ErrOrStderr(), sentence) })
		if err != nil {
			return err
		}
		if report.Note != "" {
			fmt.Fprintln(cmd.OutOrStdout(), report.Note)
		}
		for i, d := range report.Differences {
			if i == shownDifferences {
				fmt.Fprintf(cmd.OutOrStdout(), "and %d more\n", len(report.Differences)-i)
				break
			}
			fmt.Fprintln(cmd.OutOrStdout(), d)
		}
		if len(report.Differences) > 0 {
			return fmt.Errorf("%s differs in %s from what it should be (%s)", report.Table, counted(len(report.Differences), "place"), counted(report.Rows, "row"))
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s is as it should be: %s\n", report.Table, counted(report.Rows, "row"))
		return nil
	}
	return cmd
}
