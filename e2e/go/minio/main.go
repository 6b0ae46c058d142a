// MinIO's server, and the few steps of its administration that the test bed needs. MinIO's own
// client for them is another module; the library below it is part of the server.
//
//	minio server DIR --address ADDRESS     the server
//	minio bed-setup < setup.json           buckets, users, quotas
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/minio/madmin-go/v3"
	minioclient "github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	minio "github.com/minio/minio/cmd"
)

// setup comes by standard input: secrets do not belong on a command line.
type setup struct {
	Endpoint string `json:"endpoint"`
	User     string `json:"user"`
	Password string `json:"password"`
	// Buckets to make where they are missing.
	Buckets []string `json:"buckets"`
	// Users to make, each with a policy of its own.
	Users []struct {
		Name     string          `json:"name"`
		Password string          `json:"password"`
		Policy   json.RawMessage `json:"policy"`
	} `json:"users"`
	// Most bytes that a bucket may hold.
	Quotas map[string]uint64 `json:"quotas"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "bed-setup" {
		if err := bedSetup(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	minio.Main(os.Args)
}

func bedSetup() error {
	var s setup
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return fmt.Errorf("bed-setup: standard input: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	login := credentials.NewStaticV4(s.User, s.Password, "")
	client, err := minioclient.New(s.Endpoint, &minioclient.Options{Creds: login})
	if err != nil {
		return err
	}
	admin, err := madmin.NewWithOptions(s.Endpoint, &madmin.Options{Creds: login})
	if err != nil {
		return err
	}
	for _, bucket := range s.Buckets {
		err := client.MakeBucket(ctx, bucket, minioclient.MakeBucketOptions{})
		if err != nil && minioclient.ToErrorResponse(err).Code != "BucketAlreadyOwnedByYou" {
			return fmt.Errorf("bucket %s: %w", bucket, err)
		}
	}
	for _, user := range s.Users {
		if err := admin.AddUser(ctx, user.Name, user.Password); err != nil {
			return fmt.Errorf("user %s: %w", user.Name, err)
		}
		if err := admin.AddCannedPolicy(ctx, user.Name, user.Policy); err != nil {
			return fmt.Errorf("policy of %s: %w", user.Name, err)
		}
		request := madmin.PolicyAssociationReq{Policies: []string{user.Name}, User: user.Name}
		_, err := admin.AttachPolicy(ctx, request)
		if err != nil && madmin.ToErrorResponse(err).Code != "XMinioAdminPolicyChangeAlreadyApplied" {
			return fmt.Errorf("policy of %s: %w", user.Name, err)
		}
	}
	for bucket, size := range s.Quotas {
		quota := madmin.BucketQuota{Size: size, Type: madmin.HardQuota}
		if err := admin.SetBucketQuota(ctx, bucket, &quota); err != nil {
			return fmt.Errorf("quota of %s: %w", bucket, err)
		}
	}
	return nil
}
