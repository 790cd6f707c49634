package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// One part in so many is written before the clock starts: connections, allocators and the server are cold.
const warmUpShare = 8

// produce writes to a stream of its own, many records in flight.
func produce(system target, of load) (*figures, error) {
	return within(system, of, func() (*figures, error) {
		writer, err := system.open(of)
		if err != nil {
			return nil, err
		}
		defer writer.close()
		warm, err := writer.write(of.records/warmUpShare, time.Now().Add(of.longest/warmUpShare))
		if err != nil {
			return nil, err
		}
		meter, err := startMeter(of)
		if err != nil {
			return nil, err
		}
		written, err := writer.write(of.records, time.Now().Add(of.longest))
		if err != nil {
			return nil, err
		}
		measured, err := meter.stop(written)
		if err != nil {
			return nil, err
		}
		return measured, expectLength(system, of, warm+written)
	})
}

// latency has each client write a record, wait for its acknowledgement, and write the next.
func latency(system target, of load) (*figures, error) {
	return within(system, of, func() (*figures, error) {
		writers := make([]writer, of.clients)
		for index := range writers {
			writer, err := system.open(of)
			if err != nil {
				return nil, err
			}
			defer writer.close()
			if err := writer.writeOne(); err != nil {
				return nil, err
			}
			writers[index] = writer
		}
		meter, err := startMeter(of)
		if err != nil {
			return nil, err
		}
		times, err := writeOneByOne(writers, of)
		if err != nil {
			return nil, err
		}
		measured, err := meter.stop(len(times))
		if err != nil {
			return nil, err
		}
		measured.LatencyUs = quantiles(times)
		return measured, expectLength(system, of, len(times)+of.clients)
	})
}

func writeOneByOne(writers []writer, of load) ([]time.Duration, error) {
	type outcome struct {
		times []time.Duration
		err   error
	}
	deadline := time.Now().Add(of.longest)
	ended := make(chan outcome, len(writers))
	for _, writer := range writers {
		go func() {
			var it outcome
			for sent := time.Now(); len(it.times) < of.records/of.clients && sent.Before(deadline); {
				if it.err = writer.writeOne(); it.err != nil {
					break
				}
				now := time.Now()
				it.times = append(it.times, now.Sub(sent))
				sent = now
			}
			ended <- it
		}()
	}
	var all []time.Duration
	for range writers {
		it := <-ended
		if it.err != nil {
			return nil, it.err
		}
		all = append(all, it.times...)
	}
	return all, nil
}

// fill makes a stream that stays.
func fill(system target, of load) (*figures, error) {
	if err := system.create(of); err != nil {
		return nil, err
	}
	writer, err := system.open(of)
	if err != nil {
		return nil, err
	}
	defer writer.close()
	if _, err := writer.write(of.records, time.Now().Add(time.Hour)); err != nil {
		return nil, err
	}
	return nil, expectLength(system, of, of.records)
}

// consume reads a stream that was filled, from its start.
func consume(system target, of load) (*figures, error) {
	meter, err := startMeter(of)
	if err != nil {
		return nil, err
	}
	read := uint64(0)
	err = system.consume(of, func(number uint64) error {
		if read++; number != read {
			return fmt.Errorf("void: record %d came instead of %d", number, read)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if read != uint64(of.records) {
		return nil, fmt.Errorf("void: %d records were read instead of %d", read, of.records)
	}
	return meter.stop(of.records)
}

// within makes a stream for what is measured, and removes it.
func within(system target, of load, measure func() (*figures, error)) (*figures, error) {
	if err := system.create(of); err != nil {
		return nil, err
	}
	measured, err := measure()
	if removed := system.remove(of); err == nil {
		err = removed
	}
	return measured, err
}

func expectLength(system target, of load, records int) error {
	there, err := system.length(of)
	if err != nil {
		return err
	}
	if there != records {
		return fmt.Errorf("void: the stream has %d records instead of %d", there, records)
	}
	return nil
}

// values are slices of random bytes, which do not compress.
func values(size int) func() []byte {
	region := make([]byte, 1<<22+size)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(region) // It never fails.
	position := 0
	return func() []byte {
		position = (position + size) % (1 << 22)
		return region[position : position+size]
	}
}
