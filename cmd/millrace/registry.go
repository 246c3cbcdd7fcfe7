package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"millrace/internal/up"
)

func newRegistry() *cobra.Command {
	cmd := &cobra.Command{
		Use: "registry", Short: "Serve a schema registry to parts that run apart", Args: cobra.NoArgs,
		Long: `Serve a schema registry to parts that run apart, where there is no other: their
configuration's registry: {url: …} is its address and /registry. The schemas are in
a topic of Kafka, which one process at a time may have. No DSN is needed.`,
	}
	path, level := configFlag(cmd), logFlag(cmd)
	topic := cmd.Flags().String("topic", "", "the topic of the schemas; default: <prefix>.schemas. That of millrace up is _schemas")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		conf, err := loadOpening(*path)
		if err != nil {
			return err
		}
		log, err := newLog(cmd.ErrOrStderr(), *level)
		if err != nil {
			return err
		}
		return up.RunRegistry(cmd.Context(), up.Options{
			Config: conf, Log: log,
			Started: func(f up.RunFile) { fmt.Fprintf(cmd.OutOrStdout(), "millrace registry: %s\n", f.Registry) },
		}, *topic)
	}
	return cmd
}
