package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsTarget is NATS JetStream: a stream in files, and a durable pull consumer with explicit acks. An ack is
// a message that nobody answers, the fastest that there is; the consumer's state is asked for in the end.
type natsTarget struct{}

const publishAhead = 1000

func streamName(of load) string { return fmt.Sprintf("load-%d", of.size) }

func openNats(of load) (*nats.Conn, jetstream.JetStream, error) {
	connection, err := nats.Connect(of.url)
	if err != nil {
		return nil, nil, err
	}
	stream, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(publishAhead))
	return connection, stream, err
}

func (natsTarget) prepare(of load) error {
	connection, stream, err := openNats(of)
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx := context.Background()
	name := streamName(of)
	config := jetstream.StreamConfig{Name: name, Subjects: []string{name}, Storage: jetstream.FileStorage}
	if _, err := stream.CreateStream(ctx, config); err != nil {
		return err
	}
	next := values(of)
	for range of.records {
		if _, err := stream.PublishAsync(name, next(), jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	<-stream.PublishAsyncComplete()
	written, err := stream.Stream(ctx, name)
	if err != nil {
		return err
	}
	if there := written.CachedInfo().State.Msgs; there != uint64(of.records) {
		return fmt.Errorf("void: the stream has %d records instead of %d", there, of.records)
	}
	return nil
}

func (natsTarget) subscribe(of load) error {
	connection, stream, err := openNats(of)
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = stream.CreateConsumer(context.Background(), streamName(of), jetstream.ConsumerConfig{
		Durable:       of.name,
		AckPolicy:     jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		MaxAckPending: of.inFlight * of.clients,
	})
	return err
}

func (natsTarget) consume(of load, records *ledger) error {
	connection, stream, err := openNats(of)
	if err != nil {
		return err
	}
	defer connection.Close()
	consumer, err := stream.Consumer(context.Background(), streamName(of), of.name)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(of.inFlight))
	if err != nil {
		return err
	}
	go func() {
		<-records.stop
		messages.Stop()
	}()
	for {
		message, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return connection.FlushTimeout(time.Minute)
		}
		if err != nil {
			return err
		}
		metadata, err := message.Metadata()
		if err != nil {
			return err
		}
		if err := records.note(metadata.Sequence.Stream); err != nil {
			return err
		}
		if err := message.Ack(); err != nil {
			return err
		}
	}
}

func (natsTarget) unsettled(of load) (int, error) {
	connection, stream, err := openNats(of)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	consumer, err := stream.Consumer(context.Background(), streamName(of), of.name)
	if err != nil {
		return 0, err
	}
	state := consumer.CachedInfo()
	return int(state.NumPending) + state.NumAckPending, nil
}
