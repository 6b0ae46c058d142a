package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// tolerance is how many seconds a JWT may come from the future.
const tolerance = 300

// identity is someone who may use the server.
type identity struct {
	// A service account's e-mail, or "default" for whom the metadata server speaks of.
	Name string `json:"name"`
	// Its public key, as PEM.
	Key string `json:"key"`
	// The token of another provider that it is known by, where there is a federation.
	Subject string `json:"subject"`
	// HTTP methods that it may use on objects. A rewrite needs also DELETE, as all that replaces an
	// object does: https://cloud.google.com/storage/docs/access-control/iam-json
	Methods []string `json:"methods"`
}

// guarded gives tokens, and lets only those in who have one. Without identities all are let in.
func guarded(identities []identity, next http.Handler) http.Handler {
	if len(identities) == 0 {
		return next
	}
	known := map[string]identity{}
	for _, i := range identities {
		known[i.Name] = i
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			exchange(w, r, known)
		case r.URL.Path == "/sts":
			federated(w, r, identities)
		case strings.HasPrefix(r.URL.Path, "/computeMetadata/v1/instance/service-accounts/default/token"):
			metadata(w, r, known)
		case r.URL.Query().Get("upload_id") != "":
			// The address of an upload is all that its parts need.
			next.ServeHTTP(w, r)
		default:
			name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer token-of-")
			who, ok := known[name]
			if !ok {
				refuse(w, http.StatusUnauthorized, "authError", "Invalid Credentials")
				return
			}
			if !slices.Contains(who.Methods, r.Method) {
				refuse(w, http.StatusForbidden, "forbidden", name+" does not have access")
				return
			}
			replaces := strings.Contains(r.URL.EscapedPath(), "/rewriteTo/")
			if replaces && !slices.Contains(who.Methods, http.MethodDelete) {
				refuse(w, http.StatusForbidden, "forbidden",
					name+" does not have storage.objects.delete access")
				return
			}
			next.ServeHTTP(w, r)
		}
	})
}

func metadata(w http.ResponseWriter, r *http.Request, known map[string]identity) {
	if _, ok := known["default"]; !ok || r.Header.Get("Metadata-Flavor") != "Google" {
		http.Error(w, "no such service account", http.StatusNotFound)
		return
	}
	give(w, "default")
}

func exchange(w http.ResponseWriter, r *http.Request, known map[string]identity) {
	name, err := signer(r.FormValue("assertion"), known)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"error": "invalid_grant", "error_description": err.Error(),
		})
		return
	}
	give(w, name)
}

// federated exchanges the token of another provider, as Google's Security Token Service does.
func federated(w http.ResponseWriter, r *http.Request, identities []identity) {
	subject := r.FormValue("subject_token")
	for _, i := range identities {
		asked := r.FormValue("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange"
		if asked && i.Subject != "" && i.Subject == subject {
			give(w, i.Name)
			return
		}
	}
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{
		"error": "invalid_grant", "error_description": "The given credential is not known.",
	})
}

func give(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": "token-of-" + name, "token_type": "Bearer", "expires_in": 3600,
	})
}

// signer tells who signed a JWT.
func signer(jwt string, known map[string]identity) (string, error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return "", errors.New("no JWT")
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var who struct {
		Iss string `json:"iss"`
		Iat int64  `json:"iat"`
		Exp int64  `json:"exp"`
	}
	if err := json.Unmarshal(claims, &who); err != nil {
		return "", err
	}
	block, _ := pem.Decode([]byte(known[who.Iss].Key))
	if block == nil {
		return "", fmt.Errorf("account not found: %s", who.Iss)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return "", err
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return "", errors.New("no RSA key")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, hash[:], signature); err != nil {
		return "", errors.New("Invalid JWT Signature.")
	}
	now := time.Now().Unix()
	if who.Exp <= now || who.Iat > now+tolerance || who.Exp-who.Iat > 3600 {
		return "", errors.New("Invalid JWT: Token must be a short-lived token (60 minutes) and in " +
			"a reasonable timeframe. Check your iat and exp values in the JWT claim.")
	}
	return who.Iss, nil
}

func refuse(w http.ResponseWriter, status int, reason, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": status, "message": message,
		"errors": []map[string]string{{"domain": "global", "reason": reason, "message": message}},
	}})
}
