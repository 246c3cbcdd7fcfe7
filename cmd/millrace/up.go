package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"millrace/internal/up"
)

func newUp() *cobra.Command {
	return newParts("up", "Run everything in one process", up.All())
}

func newProduce() *cobra.Command {
	return newParts("produce", "Send the changes of the sources to Kafka", up.Parts{Produce: true})
}

func newConsume() *cobra.Command {
	return newParts("consume", "Load the topics into core tables", up.Parts{Consume: true})
}

func newDerive() *cobra.Command {
	return newParts("derive", "Keep the derived tables up to date", up.Parts{Derive: true})
}

// newParts is a command that runs parts of Millrace until it is told to end.
func newParts(name, short string, parts up.Parts) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs}
	path, level := configFlag(cmd), logFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		conf, err := loadConfig(*path)
		if err != nil {
			return err
		}
		log, err := newLog(cmd.ErrOrStderr(), *level)
		if err != nil {
			return err
		}
		return up.Run(cmd.Context(), up.Options{
			Config: conf, Parts: parts, Version: version, Log: log,
			Started: func(f up.RunFile) {
				fmt.Fprintf(cmd.OutOrStdout(), "millrace %s: http://%s/\n", name, f.HTTP)
			},
		})
	}
	return cmd
}
