package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"
)

// patching answers a patch with the object, and refuses to set its customTime back.
// https://cloud.google.com/storage/docs/metadata#custom-time
func patching(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPatch {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			refuse(w, http.StatusBadRequest, "invalid", err.Error())
			return
		}
		var is, wanted struct {
			CustomTime time.Time `json:"customTime"`
		}
		before := look(next, r, r.URL.EscapedPath())
		_ = json.Unmarshal(before.Body.Bytes(), &is)
		if err := json.Unmarshal(body, &wanted); err != nil {
			refuse(w, http.StatusBadRequest, "invalid", err.Error())
			return
		}
		if wanted.CustomTime.Before(is.CustomTime) {
			refuse(w, http.StatusBadRequest, "invalid", "Custom time cannot be set to an earlier time.")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		patched := httptest.NewRecorder()
		next.ServeHTTP(patched, r)
		if patched.Code == http.StatusOK {
			patched = look(next, r, r.URL.EscapedPath())
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(patched.Code)
		_, _ = w.Write(patched.Body.Bytes())
	})
}

// look gets the object at a path, as whoever sent r.
func look(next http.Handler, r *http.Request, path string) *httptest.ResponseRecorder {
	at := &url.URL{RawPath: path}
	at.Path, _ = url.PathUnescape(path)
	get := r.Clone(r.Context())
	get.Method, get.URL, get.RequestURI, get.Body = http.MethodGet, at, path, http.NoBody
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, get)
	return answer
}
