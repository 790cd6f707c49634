package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

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

// settle has all clients take the records of a stream that was filled, and ack each by itself.
func settle(system target, of load) (*figures, error) {
	if err := system.subscribe(of); err != nil {
		return nil, err
	}
	records := &ledger{seen: make([]atomic.Bool, of.records), stop: make(chan struct{})}
	records.missing.Store(int64(of.records))
	meter, err := startMeter(of)
	if err != nil {
		return nil, err
	}
	if err := settleAll(system, of, records); err != nil {
		return nil, err
	}
	for {
		left, err := system.unsettled(of)
		if err != nil {
			return nil, err
		}
		if left == 0 {
			return meter.stop(of.records)
		}
		if time.Since(meter.start) > 10*time.Minute {
			return nil, fmt.Errorf("void: %d records were never acked", left)
		}
		time.Sleep(time.Millisecond)
	}
}

func settleAll(system target, of load, records *ledger) error {
	ended := make(chan error, of.clients)
	for range of.clients {
		go func() { ended <- system.settle(of, records) }()
	}
	// One that fails ends the run: what it has would never come to the others.
	for range of.clients {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}
