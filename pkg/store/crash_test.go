package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/emulate"
)

// childEnv makes the test binary a writer that is going to be killed. Its value
// is the data directory.
const childEnv = "LOGSTACK_STORE_TEST_CHILD"

const killWriters = 4

func killOptions() Options {
	return Options{MemoryLimit: minMemoryLimit, SegmentSize: minSegmentSize, BlockRange: time.Hour, CompactionMinBlocks: 2}
}

// childMain writes batches from several goroutines until it is killed, while
// flushing and compacting all the time. Every acknowledged batch is printed.
func childMain(dir string) int {
	db, err := Open(dir, killOptions())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	var wg sync.WaitGroup
	for w := range killWriters {
		seq := markOf(db, w)
		wg.Go(func() {
			for {
				b := killBatch(w, seq)
				if err := db.Append(context.Background(), b); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				seq += b.Len()
				mu.Lock()
				fmt.Fprintf(out, "%d %d\n", w, seq)
				out.Flush()
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for {
			if err := db.Flush(context.Background()); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	})
	wg.Wait()
	return 0
}

func markOf(db *DB, w int) int {
	n, _ := strconv.Atoi(string(db.Marks("pos/")[fmt.Sprintf("pos/%d", w)]))
	return n
}

// killBatch holds 1 to 50 lines after number seq, and the mark that says so.
func killBatch(w, seq int) *model.Batch {
	s := model.StreamEntries{Labels: labels.FromStrings("app", "killed", "writer", strconv.Itoa(w))}
	n := 1 + (seq*7+w)%50
	for i := 1; i <= n; i++ {
		// Some lines are late, so that several windows of time are written.
		ts := int64(1_800_000_000_000_000_000) + int64(seq+i)*int64(time.Millisecond) - int64((seq+i)%97/96)*int64(5*time.Hour)
		s.Entries = append(s.Entries, model.Entry{Timestamp: ts, Line: fmt.Sprintf("writer %d line %d %s", w, seq+i, strings.Repeat("x", (seq+i)%200))})
	}
	return &model.Batch{
		Streams: []model.StreamEntries{s},
		Marks:   []model.Mark{{Key: fmt.Sprintf("pos/%d", w), Value: []byte(strconv.Itoa(seq + n))}},
	}
}

// TestKill kills a writer at random points and looks for lost and repeated
// entries.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 50
	if testing.Short() {
		kills = 5
	}
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -seed %d)", seed, seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	dir := testDir(t)
	acked := make([]int, killWriters)
	for k := range kills {
		if k%10 == 9 { // a fresh directory now and then: the check reads everything
			dir, acked = testDir(t), make([]int, killWriters)
		}
		runAndKill(t, dir, 1+rng.IntN(300), time.Duration(rng.IntN(2000))*time.Microsecond, acked)
		checkKilled(t, dir, acked)
		if t.Failed() {
			return
		}
	}
}

// runAndKill starts a writer and kills it some time after it has acknowledged a
// number of batches. acked is updated.
func runAndKill(t *testing.T, dir string, after int, then time.Duration, acked []int) {
	t.Helper()
	cmd := emulate.Command(os.Args[0], os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sc := bufio.NewScanner(out)
	n := 0
	for sc.Scan() {
		var w, seq int
		if _, err := fmt.Sscanf(sc.Text(), "%d %d", &w, &seq); err == nil && w < len(acked) {
			acked[w] = max(acked[w], seq)
		}
		if n++; n == after {
			go func() {
				<-time.After(then) // a random moment, nothing is waited for
				_ = cmd.Process.Kill()
			}()
		}
	}
	if n < after { // it ended by itself
		_ = cmd.Process.Kill()
	}
	_ = cmd.Wait()
	if n < after || stderr.Len() > 0 {
		t.Fatalf("the writer ended after %d batches: %s", n, stderr.String())
	}
}

// checkKilled opens the directory and checks that every acknowledged line is
// there once, that nothing is there twice, and that marks agree with lines.
func checkKilled(t *testing.T, dir string, acked []int) {
	t.Helper()
	o := killOptions()
	o.noBackground = true
	db, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	it, err := db.Select(context.Background(), model.SelectRequest{Range: model.AllTime(), Unordered: true})
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]map[int]int, killWriters)
	for w := range seen {
		seen[w] = map[int]int{}
	}
	for _, r := range collect(t, it, 0, false) {
		var w, seq int
		if _, err := fmt.Sscanf(r.line, "writer %d line %d ", &w, &seq); err != nil {
			t.Fatalf("strange line %q", r.line)
		}
		seen[w][seq]++
	}
	for w, lines := range seen {
		mark := markOf(db, w)
		if mark < acked[w] {
			t.Errorf("writer %d: mark is %d, acknowledged were %d", w, mark, acked[w])
		}
		if len(lines) != mark {
			t.Errorf("writer %d: %d lines, mark says %d (acknowledged %d)", w, len(lines), mark, acked[w])
		}
		for i := 1; i <= mark; i++ {
			if lines[i] != 1 {
				t.Errorf("writer %d: line %d is there %d times", w, i, lines[i])
				break
			}
		}
	}
	if s := db.Status(); s.BadChunkBlocks+s.WALDamage > 0 {
		t.Errorf("damage after a kill: %+v", s)
	}
}
