package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// redisTarget is a Redis stream with a consumer group. The acks of what a client has go in one XACK, on one
// connection ahead of the XREADGROUP that asks for more.
type redisTarget struct{}

func openRedis(of load) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: of.url, PoolSize: 1, DisableIdentity: true})
}

func (redisTarget) prepare(of load) error {
	client := openRedis(of)
	defer client.Close()
	ctx := context.Background()
	next := values(of)
	for first := 1; first <= of.records; first += publishAhead {
		last := min(first+publishAhead-1, of.records)
		_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for number := first; number <= last; number++ {
				pipe.XAdd(ctx, &redis.XAddArgs{
					Stream: streamName(of),
					ID:     fmt.Sprintf("%d-0", number),
					Values: []any{"value", next()},
				})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (redisTarget) subscribe(of load) error {
	client := openRedis(of)
	defer client.Close()
	return client.XGroupCreate(context.Background(), streamName(of), of.name, "0").Err()
}

func (redisTarget) consume(of load, records *ledger) error {
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
			pipe.XAck(ctx, streamName(of), of.name, done...)
		}
		if !isLast {
			read = pipe.XReadGroup(ctx, &redis.XReadGroupArgs{
				Group:    of.name,
				Consumer: name,
				Streams:  []string{streamName(of), ">"},
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
			if err := noteRedis(message.ID, records); err != nil {
				return err
			}
			done = append(done, message.ID)
		}
	}
}

func noteRedis(id string, records *ledger) error {
	text, _, _ := strings.Cut(id, "-")
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return err
	}
	return records.note(number)
}

func (redisTarget) unsettled(of load) (int, error) {
	client := openRedis(of)
	defer client.Close()
	groups, err := client.XInfoGroups(context.Background(), streamName(of)).Result()
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
