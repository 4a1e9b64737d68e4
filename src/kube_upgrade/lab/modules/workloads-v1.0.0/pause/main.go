// pause holds a pod's namespaces. As pid 1 of a shared pid namespace it reaps what is left to it.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const version = "v1.0.0"

func main() {
	if len(os.Args) > 1 { // -v, as the real one
		fmt.Println("pause", version)
		return
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			os.Exit(0)
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
