package main

import (
	"encoding/json"
	"net/http"
	"strings"
)

// stepwise makes every rewrite take two calls, as those do that Google cannot do at once. Its first
// call finds out whether the object is there, and moves nothing.
func stepwise(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source, _, rewrite := strings.Cut(r.URL.EscapedPath(), "/rewriteTo/")
		if !rewrite || r.URL.Query().Get("rewriteToken") != "" {
			next.ServeHTTP(w, r)
			return
		}
		found := look(next, r, source)
		var object struct {
			Size string `json:"size"`
		}
		if found.Code != http.StatusOK || json.Unmarshal(found.Body.Bytes(), &object) != nil {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"kind": "storage#rewriteResponse", "done": false, "rewriteToken": "half",
			"objectSize": object.Size, "totalBytesRewritten": "0",
		})
	})
}
