package main

import (
	"encoding/json"

	"github.com/spf13/cobra"
)

func newSQL() *cobra.Command {
	cmd := &cobra.Command{Use: "sql QUERY", Short: "Run one SELECT on the warehouse of the running process", Args: one("one query, in quotes")}
	path, address := configFlag(cmd), addressFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON: columns, types, and rows of text or null")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := running(*path, *address)
		if err != nil {
			return err
		}
		table, err := client.Query(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(table)
		}
		return table.Write(cmd.OutOrStdout())
	}
	return cmd
}
