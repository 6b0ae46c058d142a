// fake-gcs-server, closer to Google Cloud Storage where it differs in what a backup relies on:
//
//   - It ends an upload when it is asked how much of it has arrived, and appends a part that is sent
//     again. Google answers with the range that it has, takes a part from where it is cut, and keeps
//     what came before a connection broke in multiples of 256 KiB.
//     https://cloud.google.com/storage/docs/performing-resumable-uploads
//   - It does every rewrite in one call. Here it takes two.
//   - It answers a patch in a form of its own, and sets a customTime back. Here it does neither.
//   - It lets everyone do everything. Here, where identities are given, a token is needed: it is
//     given for a JWT that a service account signed, for the token of another provider that is
//     federated, or by what GKE has for workload identity, the metadata server.
//
// Usage: fake-gcs --address HOST:PORT --data DIR --identities FILE [--cert FILE --key FILE]
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	address := flag.String("address", "", "where to listen")
	data := flag.String("data", "", "a directory with one directory a bucket")
	who := flag.String("identities", "", "a JSON file of those who may use it; empty for all")
	cert := flag.String("cert", "", "the server's certificate, for HTTPS")
	key := flag.String("key", "", "its key")
	flag.Parse()

	var identities []identity
	content, err := os.ReadFile(*who)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.Unmarshal(content, &identities); err != nil {
		log.Fatalf("%s: %v", *who, err)
	}
	scheme := "http"
	if *cert != "" {
		scheme = "https"
	}
	fake, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		NoListener:  true,
		StorageRoot: *data,
		ExternalURL: fmt.Sprintf("%s://%s", scheme, *address),
		PublicHost:  *address,
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := guarded(identities, stepwise(patching(resumable(fake.HTTPHandler()))))
	server := &http.Server{Addr: *address, Handler: logged(handler)}
	if *cert != "" {
		log.Fatal(server.ListenAndServeTLS(*cert, *key))
	}
	log.Fatal(server.ListenAndServe())
}

// logged writes a line a request, without its query: that of an upload is a secret.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.Printf("%s %s %s", r.Method, r.URL.Path, r.Header.Get("Content-Range"))
		next.ServeHTTP(w, r)
	})
}
