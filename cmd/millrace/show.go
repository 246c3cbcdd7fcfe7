package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show TABLE", Short: "Show the query and the rows of a window or key of a derived table; nothing is published",
		Args: one("one derived table, such as analytics.revenue_daily"),
	}
	path, address := configFlag(cmd), addressFlag(cmd)
	window := cmd.Flags().String("window", "", "the window: a date, or 2026-01-31T15:00")
	key := cmd.Flags().StringArray("key", nil, "the value of a key's column; once for each, in their order")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := running(*path, *address)
		if err != nil {
			return err
		}
		shown, err := client.Show(cmd.Context(), args[0], *window, *key)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n\n", shown.SQL)
		return shown.Result.Write(cmd.OutOrStdout())
	}
	return cmd
}
