// Says what Grafana's own types do not know in the dashboard on standard input, or miss there.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	text, err := io.ReadAll(os.Stdin)
	var board dashboard.Dashboard
	if err == nil {
		err = board.UnmarshalJSONStrict(text)
	}
	if err == nil {
		err = board.Validate()
	}
	// An empty list of errors is not nil here.
	if err != nil && err.Error() != "" {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
