package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCheck() *cobra.Command {
	cmd := &cobra.Command{Use: "check", Short: "Report every fault of the configuration at once", Args: cobra.NoArgs}
	path := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := loadConfig(*path); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), *path+": no faults")
		return nil
	}
	return cmd
}
