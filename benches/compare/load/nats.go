package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsTarget is NATS JetStream: a stream in files, and a durable pull consumer with explicit acks. An ack is
// a message that nobody answers, the fastest that there is; the consumer's state is asked for in the end.
type natsTarget struct{}

// natsWriter is one connection. The window is the client's own default.
type natsWriter struct {
	connection *nats.Conn
	stream     jetstream.JetStream
	name       string
	batch      int
	batches    int
	next       func() []byte
}

const natsWindow = 4000

// Longest that a server may not answer; reached only when something hangs.
const patience = time.Minute

func openNats(of load) (*nats.Conn, jetstream.JetStream, error) {
	connection, err := nats.Connect(of.url)
	if err != nil {
		return nil, nil, err
	}
	stream, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(natsWindow))
	return connection, stream, err
}

// withNats makes a connection for one question.
func withNats[T any](of load, ask func(context.Context, jetstream.JetStream) (T, error)) (T, error) {
	connection, stream, err := openNats(of)
	if err != nil {
		var none T
		return none, err
	}
	defer connection.Close()
	return ask(context.Background(), stream)
}

func (natsTarget) create(of load) error {
	_, err := withNats(of, func(ctx context.Context, stream jetstream.JetStream) (jetstream.Stream, error) {
		return stream.CreateStream(ctx, jetstream.StreamConfig{
			Name:               of.stream,
			Subjects:           []string{of.stream},
			Storage:            jetstream.FileStorage,
			AllowAtomicPublish: of.batch > 0,
		})
	})
	return err
}

func (natsTarget) remove(of load) error {
	_, err := withNats(of, func(ctx context.Context, stream jetstream.JetStream) (any, error) {
		return nil, stream.DeleteStream(ctx, of.stream)
	})
	return err
}

func (natsTarget) length(of load) (int, error) {
	return withNats(of, func(ctx context.Context, stream jetstream.JetStream) (int, error) {
		written, err := stream.Stream(ctx, of.stream)
		if err != nil {
			return 0, err
		}
		return int(written.CachedInfo().State.Msgs), nil
	})
}

func (natsTarget) open(of load) (writer, error) {
	connection, stream, err := openNats(of)
	if err != nil {
		return nil, err
	}
	return &natsWriter{
		connection: connection,
		stream:     stream,
		name:       of.stream,
		batch:      of.batch,
		next:       values(of.size),
	}, nil
}

func (it *natsWriter) close() { it.connection.Close() }

func (it *natsWriter) writeOne() error {
	_, err := it.stream.Publish(context.Background(), it.name, it.next())
	return err
}

func (it *natsWriter) write(records int, deadline time.Time) (int, error) {
	if it.batch > 0 {
		return it.writeBatches(records, deadline)
	}
	var futures []jetstream.PubAckFuture
	for len(futures) < records && (len(futures)%100 != 0 || time.Now().Before(deadline)) {
		future, err := it.stream.PublishAsync(it.name, it.next(), jetstream.WithStallWait(patience))
		if err != nil {
			return 0, err
		}
		futures = append(futures, future)
	}
	<-it.stream.PublishAsyncComplete()
	for _, future := range futures {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			return 0, err
		}
	}
	return len(futures), nil
}

// writeBatches sends atomic batches, which are acknowledged once each, one after the other.
func (it *natsWriter) writeBatches(records int, deadline time.Time) (int, error) {
	written := 0
	for written < records && time.Now().Before(deadline) {
		count := min(it.batch, records-written)
		it.batches++
		id := fmt.Sprintf("%p-%d", it, it.batches)
		for number := 1; number <= count; number++ {
			message := nats.NewMsg(it.name)
			message.Data = it.next()
			message.Header.Set("Nats-Batch-Id", id)
			message.Header.Set("Nats-Batch-Sequence", strconv.Itoa(number))
			if number < count {
				if err := it.connection.PublishMsg(message); err != nil {
					return 0, err
				}
				continue
			}
			message.Header.Set("Nats-Batch-Commit", "1")
			if _, err := it.stream.PublishMsg(context.Background(), message); err != nil {
				return 0, err
			}
		}
		written += count
	}
	return written, nil
}

func (natsTarget) consume(of load, note func(uint64) error) error {
	connection, stream, err := openNats(of)
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx := context.Background()
	consumer, err := stream.OrderedConsumer(ctx, of.stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(natsWindow))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for range of.records {
		message, err := messages.Next()
		if err != nil {
			return err
		}
		metadata, err := message.Metadata()
		if err != nil {
			return err
		}
		if err := note(metadata.Sequence.Stream); err != nil {
			return err
		}
	}
	return nil
}

func (natsTarget) subscribe(of load) error {
	_, err := withNats(of, func(ctx context.Context, stream jetstream.JetStream) (jetstream.Consumer, error) {
		return stream.CreateConsumer(ctx, of.stream, jetstream.ConsumerConfig{
			Durable:       of.name,
			AckPolicy:     jetstream.AckExplicitPolicy,
			DeliverPolicy: jetstream.DeliverAllPolicy,
			MaxAckPending: of.inFlight * of.clients,
		})
	})
	return err
}

func (natsTarget) settle(of load, records *ledger) error {
	connection, stream, err := openNats(of)
	if err != nil {
		return err
	}
	defer connection.Close()
	consumer, err := stream.Consumer(context.Background(), of.stream, of.name)
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
			return connection.FlushTimeout(patience)
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
	return withNats(of, func(ctx context.Context, stream jetstream.JetStream) (int, error) {
		consumer, err := stream.Consumer(ctx, of.stream, of.name)
		if err != nil {
			return 0, err
		}
		state := consumer.CachedInfo()
		return int(state.NumPending) + state.NumAckPending, nil
	})
}
