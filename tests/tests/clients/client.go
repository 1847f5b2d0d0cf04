// Requests of Go's net/http.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

var url, host = os.Args[1], os.Args[2]

func ask(client *http.Client, method string, header http.Header, body io.Reader) string {
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		return err.Error()
	}
	request.Host = host
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", response.StatusCode, text)
}

func check(said, wanted, what string) {
	if said != wanted {
		fmt.Fprintf(os.Stderr, "%s: %q, and not %q\n", what, said, wanted)
		os.Exit(1)
	}
}

func main() {
	transport := &http.Transport{ExpectContinueTimeout: 5 * time.Second, MaxIdleConnsPerHost: 20}
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	sent := fmt.Sprintf("200 v1 %d %x", len(body), sha256.Sum256(body))
	for range 100 {
		check(ask(client, "GET", nil, nil), "200 v1", "GET")
		check(ask(client, "GET", http.Header{"End-User": {"jason"}}, nil), "200 v2", "GET of jason")
	}
	check(ask(client, "POST", nil, bytes.NewReader(body)), sent, "POST with a length")
	// A reader that does not know its length.
	check(ask(client, "POST", nil, io.MultiReader(bytes.NewReader(body))), sent, "POST in chunks")
	expect := http.Header{"Expect": {"100-continue"}}
	check(ask(client, "PUT", expect, bytes.NewReader(body)), sent, "PUT that waits for 100")
	check(ask(client, "HEAD", nil, nil), "200 ", "HEAD")
	var all sync.WaitGroup
	for range 20 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 20 {
				check(ask(client, "GET", nil, nil), "200 v1", "one of many")
			}
		}()
	}
	all.Wait()
	fmt.Println("ok")
}
