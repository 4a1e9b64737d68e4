// app is the workload that the probe asks: it answers every request with the pod's name. On SIGTERM it ends what is
// under way and goes on answering for a moment, as a well-behaved server does while the endpoints change.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	version = "v1.0.0"
	linger  = 6 * time.Second // until every node's rules have forgotten this pod
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println("app", version)
		return
	}
	name, _ := os.Hostname()
	answer := func(out http.ResponseWriter, _ *http.Request) { fmt.Fprintln(out, name) }
	server := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(answer)}
	told := make(chan os.Signal, 1)
	ended := make(chan struct{})
	signal.Notify(told, syscall.SIGTERM)
	go func() {
		<-told
		time.Sleep(linger)
		context, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Shutdown(context)
		close(ended)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	<-ended
}
