// Command load measures NATS JetStream and Redis streams from outside, as `towpath bench` measures
// Towpath. A run in which a record is missing, comes twice or comes out of order is void.
//
//	load nats|redis produce|latency|fill|consume|settle [flags]
//
// What is measured goes to stdout as one JSON object. `compare` of towpath-benches runs it.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

// load is what is written and read.
type load struct {
	url       string
	serverPid int
	records   int
	size      int
	clients   int
	inFlight  int
	batch     int
	// After this time no more is written, however much is left.
	longest time.Duration
	// Of the stream, and of a consumer group or a durable consumer: no earlier run has used it.
	stream, name string
}

// target is a system under load.
type target interface {
	// create makes an empty stream.
	create(load) error
	// remove takes it away.
	remove(load) error
	// length is how many records the stream holds.
	length(load) (int, error)
	// open makes a connection that writes to the stream.
	open(load) (writer, error)
	// consume reads the stream from its start and takes note of each record by its number, from 1.
	consume(load, func(uint64) error) error
	// subscribe makes the durable consumer that all clients share.
	subscribe(load) error
	// settle takes records and acks them until all were handled, and returns once the server has its acks.
	settle(load, *ledger) error
	// unsettled is how many records the server does not know to be acked.
	unsettled(load) (int, error)
}

// writer is a connection of one client.
type writer interface {
	// write sends so many records, many in flight, and returns once all are acknowledged. Beyond the
	// deadline it sends no more; it returns how many it sent.
	write(records int, deadline time.Time) (int, error)
	// writeOne sends a record and waits for its acknowledgement.
	writeOne() error
	close()
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	measures := map[string]func(target, load) (*figures, error){
		"produce": produce,
		"latency": latency,
		"fill":    fill,
		"consume": consume,
		"settle":  settle,
	}
	targets := map[string]target{"nats": natsTarget{}, "redis": redisTarget{}}
	if len(args) < 2 || targets[args[0]] == nil || measures[args[1]] == nil {
		return errors.New("usage: load nats|redis produce|latency|fill|consume|settle [flags]")
	}
	var of load
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.StringVar(&of.url, "url", "", "the server")
	flags.IntVar(&of.serverPid, "server-pid", 0, "the server's process, to tell its processor time")
	flags.IntVar(&of.records, "records", 100_000, "number of records")
	flags.IntVar(&of.size, "size", 1024, "size of each value")
	flags.IntVar(&of.clients, "clients", 1, "clients, each with a connection of its own")
	flags.IntVar(&of.inFlight, "in-flight", 1000, "records that each client may have that are not acked")
	flags.IntVar(&of.batch, "batch", 0, "write atomic batches of so many records, where there are any")
	flags.DurationVar(&of.longest, "longest", time.Hour, "write no more after this time")
	flags.StringVar(&of.stream, "stream", "load", "the stream")
	flags.StringVar(&of.name, "name", "load", "of the durable consumer")
	if err := flags.Parse(args[2:]); err != nil {
		return err
	}
	measured, err := measures[args[1]](targets[args[0]], of)
	if err != nil || measured == nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(measured)
}
