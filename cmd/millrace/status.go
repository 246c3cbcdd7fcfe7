package main

import (
	"encoding/json"

	"github.com/spf13/cobra"
)

func newStatus() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show how far every table is, and what it waits for", Args: cobra.NoArgs}
	path, address := configFlag(cmd), addressFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := running(*path, *address)
		if err != nil {
			return err
		}
		s, err := client.Status(cmd.Context())
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
		}
		return s.Write(cmd.OutOrStdout())
	}
	return cmd
}
