package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisTarget is a Redis stream with a consumer group. The acks of what a client has go in one XACK, on one
// connection ahead of the XREADGROUP that asks for more.
type redisTarget struct{}

// redisWriter is one connection. Records go in pipelines, one after the other, and their ids are their
// numbers, from 1.
type redisWriter struct {
	client *redis.Client
	stream string
	number int
	next   func() []byte
}

const redisPipeline = 1000

func openRedis(of load) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: of.url, PoolSize: 1, DisableIdentity: true, ReadTimeout: patience, WriteTimeout: patience,
	})
}

// A stream is there with its first record.
func (redisTarget) create(load) error { return nil }

func (redisTarget) remove(of load) error {
	client := openRedis(of)
	defer client.Close()
	return client.Unlink(context.Background(), of.stream).Err()
}

func (redisTarget) length(of load) (int, error) {
	client := openRedis(of)
	defer client.Close()
	length, err := client.XLen(context.Background(), of.stream).Result()
	return int(length), err
}

func (redisTarget) open(of load) (writer, error) {
	client := openRedis(of)
	return &redisWriter{client: client, stream: of.stream, next: values(of.size)}, nil
}

func (it *redisWriter) close() { _ = it.client.Close() }

// writeOne leaves the id to the server: clients write to one stream.
func (it *redisWriter) writeOne() error {
	record := &redis.XAddArgs{Stream: it.stream, Values: []any{"value", it.next()}}
	return it.client.XAdd(context.Background(), record).Err()
}

func (it *redisWriter) write(records int, deadline time.Time) (int, error) {
	ctx := context.Background()
	written := 0
	for written < records && time.Now().Before(deadline) {
		count := min(redisPipeline, records-written)
		_, err := it.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for range count {
				it.number++
				pipe.XAdd(ctx, &redis.XAddArgs{
					Stream: it.stream,
					ID:     strconv.Itoa(it.number) + "-0",
					Values: []any{"value", it.next()},
				})
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		written += count
	}
	return written, nil
}

func (redisTarget) consume(of load, note func(uint64) error) error {
	client := openRedis(of)
	defer client.Close()
	last := "0"
	for {
		read, err := client.XRead(context.Background(), &redis.XReadArgs{
			Streams: []string{of.stream, last},
			Count:   redisPipeline,
			Block:   -1,
		}).Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, message := range read[0].Messages {
			if err := noteRedis(message.ID, note); err != nil {
				return err
			}
			last = message.ID
		}
	}
}

func (redisTarget) subscribe(of load) error {
	client := openRedis(of)
	defer client.Close()
	return client.XGroupCreate(context.Background(), of.stream, of.name, "0").Err()
}

func (redisTarget) settle(of load, records *ledger) error {
	client := openRedis(of)
	defer client.Close()
	ctx := context.Background()
	var done []string
	name := fmt.Sprintf("%p", client)
	for {
		isLast := records.complete()
		pipe := client.Pipeline()
		var read *redis.XStreamSliceCmd
		if len(done) > 0 {
			pipe.XAck(ctx, of.stream, of.name, done...)
		}
		if !isLast {
			read = pipe.XReadGroup(ctx, &redis.XReadGroupArgs{
				Group:    of.name,
				Consumer: name,
				Streams:  []string{of.stream, ">"},
				Count:    int64(of.inFlight),
				Block:    -1,
			})
		}
		// No record is no error: others have what is left.
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		if isLast || len(read.Val()) == 0 {
			return nil
		}
		done = done[:0]
		for _, message := range read.Val()[0].Messages {
			if err := noteRedis(message.ID, records.note); err != nil {
				return err
			}
			done = append(done, message.ID)
		}
	}
}

func noteRedis(id string, note func(uint64) error) error {
	text, _, _ := strings.Cut(id, "-")
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return err
	}
	return note(number)
}

func (redisTarget) unsettled(of load) (int, error) {
	client := openRedis(of)
	defer client.Close()
	groups, err := client.XInfoGroups(context.Background(), of.stream).Result()
	if err != nil {
		return 0, err
	}
	for _, group := range groups {
		if group.Name == of.name {
			return int(group.Pending) + of.records - int(group.EntriesRead), nil
		}
	}
	return 0, fmt.Errorf("there is no group %q", of.name)
}
