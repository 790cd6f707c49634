package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// figures are what is measured of one run.
type figures struct {
	Records          int        `json:"records"`
	Seconds          float64    `json:"seconds"`
	ClientCPUSeconds float64    `json:"client_cpu_seconds"`
	ServerCPUSeconds *float64   `json:"server_cpu_seconds"`
	LatencyUs        *latencies `json:"latency_us"`
}

// latencies are quantiles in microseconds.
type latencies struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// meter measures from its start on.
type meter struct {
	pid            int
	start          time.Time
	client, server float64
}

func startMeter(of load) (meter, error) {
	server, err := serverSeconds(of.serverPid)
	return meter{pid: of.serverPid, client: clientSeconds(), server: server, start: time.Now()}, err
}

func (it meter) stop(records int) (*figures, error) {
	seconds := time.Since(it.start).Seconds()
	measured := &figures{Records: records, Seconds: seconds, ClientCPUSeconds: clientSeconds() - it.client}
	if it.pid != 0 {
		server, err := serverSeconds(it.pid)
		if err != nil {
			return nil, err
		}
		server -= it.server
		measured.ServerCPUSeconds = &server
	}
	return measured, nil
}

// quantiles sorts the times.
func quantiles(times []time.Duration) *latencies {
	if len(times) == 0 {
		return nil
	}
	slices.Sort(times)
	at := func(quantile float64) float64 {
		index := min(int(quantile*float64(len(times))), len(times)-1)
		return float64(times[index].Nanoseconds()) / 1e3
	}
	return &latencies{P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: at(1)}
}

// clientSeconds is the processor time of this process so far.
func clientSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	seconds := func(it syscall.Timeval) float64 { return float64(it.Sec) + float64(it.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

// What the kernel counts processor time in, on every architecture that Go runs on.
const ticksPerSecond = 100

// serverSeconds is the processor time of a process so far; 0 without one.
func serverSeconds(pid int) (float64, error) {
	if pid == 0 {
		return 0, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program stands in brackets and may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] {
		number, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += number
	}
	return float64(ticks) / ticksPerSecond, nil
}
