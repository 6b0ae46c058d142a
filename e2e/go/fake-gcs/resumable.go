package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
)

// What Google keeps of a part whose connection broke is a multiple of this.
const step = 256 * 1024

// session is one upload in parts.
type session struct {
	mutex    sync.Mutex
	received int64
	// The answer to the part that ended it, which is told again.
	end *httptest.ResponseRecorder
}

// resumable makes uploads in parts behave as Google's do.
func resumable(next http.Handler) http.Handler {
	var sessions sync.Map
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("upload_id")
		if id == "" && r.URL.Query().Get("uploadType") == "resumable" {
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			if at, err := url.Parse(answer.Header().Get("Location")); err == nil {
				sessions.Store(at.Query().Get("upload_id"), &session{})
			}
			tell(w, answer)
			return
		}
		if id == "" || r.Method != http.MethodPut {
			next.ServeHTTP(w, r)
			return
		}
		found, ok := sessions.Load(id)
		if !ok {
			http.Error(w, "no such upload", http.StatusNotFound)
			return
		}
		s := found.(*session)
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.part(w, r, next)
	})
}

func (s *session) part(w http.ResponseWriter, r *http.Request, next http.Handler) {
	var first, last, total int64
	if s.end == nil {
		header := r.Header.Get("Content-Range")
		if n, _ := fmt.Sscanf(header, "bytes %d-%d/%d", &first, &last, &total); n != 3 {
			s.incomplete(w)
			return
		}
		content, err := io.ReadAll(r.Body)
		if err != nil || int64(len(content)) != last-first+1 {
			content = content[:len(content)/step*step]
		}
		if first > s.received {
			http.Error(w, "bytes are missing before this part", http.StatusBadRequest)
			return
		}
		// What has arrived already is not appended again.
		known := min(s.received-first, int64(len(content)))
		s.take(r, content[known:], total, next)
	}
	if s.end == nil {
		s.incomplete(w)
		return
	}
	tell(w, s.end)
}

func tell(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// take gives bytes to the server, which knows parts only in order and whole.
func (s *session) take(r *http.Request, content []byte, total int64, next http.Handler) {
	if len(content) == 0 {
		return
	}
	end := s.received + int64(len(content))
	part := r.Clone(r.Context())
	part.Body = io.NopCloser(bytes.NewReader(content))
	part.ContentLength = int64(len(content))
	part.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", s.received, end-1, total))
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, part)
	if answer.Code != http.StatusPermanentRedirect {
		s.end = answer
		return
	}
	s.received = end
}

// incomplete tells how much has arrived.
func (s *session) incomplete(w http.ResponseWriter) {
	if s.received > 0 {
		w.Header().Set("Range", "bytes=0-"+strconv.FormatInt(s.received-1, 10))
	}
	w.WriteHeader(http.StatusPermanentRedirect)
}
