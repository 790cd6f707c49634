// Command subscriptions measures how fast the records of NATS JetStream's durable pull consumers and of
// Redis streams' consumer groups are acked, each by itself: the counterpart of `towpath bench
// subscription`. A run in which a record is missing or comes twice is void.
//
//	subscriptions nats|redis prepare|measure [flags]
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// load is what is written and read.
type load struct {
	url      string
	records  int
	size     int
	clients  int
	inFlight int
	// Of a consumer group or a durable consumer, which no earlier run has used.
	name string
}

// target is a system under load.
type target interface {
	// prepare writes the records into a stream of their own.
	prepare(load) error
	// subscribe makes the durable consumer that all clients share.
	subscribe(load) error
	// consume takes records and acks them until stop is closed, and returns once the server has its acks.
	consume(load, *ledger) error
	// unsettled is how many records the server does not know to be acked.
	unsettled(load) (int, error)
}

// ledger is which records were handled.
type ledger struct {
	seen    []atomic.Bool
	missing atomic.Int64
	// Closed once all were handled.
	stop chan struct{}
}

var errTwice = errors.New("void: a record came twice, or should not be there")

// note takes a record by its number, from 1.
func (it *ledger) note(number uint64) error {
	if number == 0 || number > uint64(len(it.seen)) || it.seen[number-1].Swap(true) {
		return fmt.Errorf("%w: number=%d", errTwice, number)
	}
	if it.missing.Add(-1) == 0 {
		close(it.stop)
	}
	return nil
}

func (it *ledger) complete() bool {
	select {
	case <-it.stop:
		return true
	default:
		return false
	}
}

// values are slices of random bytes, which do not compress.
func values(of load) func() []byte {
	region := make([]byte, 1<<22+of.size)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(region) // It never fails.
	position := 0
	return func() []byte {
		position = (position + of.size) % (1 << 22)
		return region[position : position+of.size]
	}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: subscriptions nats|redis prepare|measure [flags]")
	}
	var of load
	flags := flag.NewFlagSet("subscriptions", flag.ContinueOnError)
	flags.StringVar(&of.url, "url", "", "the server")
	flags.IntVar(&of.records, "records", 100_000, "number of records")
	flags.IntVar(&of.size, "size", 1024, "size of each value")
	flags.IntVar(&of.clients, "clients", 1, "clients, each with a connection of its own")
	flags.IntVar(&of.inFlight, "in-flight", 1000, "records that each client may have that are not acked")
	flags.StringVar(&of.name, "name", "load", "of the durable consumer")
	if err := flags.Parse(args[2:]); err != nil {
		return err
	}
	targets := map[string]target{"nats": natsTarget{}, "redis": redisTarget{}}
	system, known := targets[args[0]]
	switch {
	case !known:
		return fmt.Errorf("unknown system %q", args[0])
	case args[1] == "prepare":
		return system.prepare(of)
	case args[1] == "measure":
		return measure(system, of)
	}
	return fmt.Errorf("unknown command %q", args[1])
}

func measure(system target, of load) error {
	if err := system.subscribe(of); err != nil {
		return err
	}
	records := &ledger{seen: make([]atomic.Bool, of.records), stop: make(chan struct{})}
	records.missing.Store(int64(of.records))
	cpu, start := cpuSeconds(), time.Now()
	if err := consumeAll(system, of, records); err != nil {
		return err
	}
	for {
		left, err := system.unsettled(of)
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		if time.Since(start) > 10*time.Minute {
			return fmt.Errorf("void: %d records were never acked", left)
		}
		time.Sleep(time.Millisecond)
	}
	seconds := time.Since(start).Seconds()
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"records_per_second": float64(of.records) / seconds,
		"seconds":            seconds,
		"client_cpu_seconds": cpuSeconds() - cpu,
	})
}

func consumeAll(system target, of load, records *ledger) error {
	ended := make(chan error, of.clients)
	for range of.clients {
		go func() { ended <- system.consume(of, records) }()
	}
	// One that fails ends the run: what it has would never come to the others.
	for range of.clients {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}

// cpuSeconds is the processor time of this process so far.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	seconds := func(it syscall.Timeval) float64 { return float64(it.Sec) + float64(it.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}
