package main

import (
	"context"
	"io"
	"os"
	"sync"
)

// input is standard input that ends with the command: the read of a terminal or
// a pipe outlasts Ctrl-C, the command that waits for it must not.
type input struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no other way in
	from io.Reader

	begin  sync.Once
	chunks chan chunk
	rest   []byte
	err    error
}

type chunk struct {
	data []byte
	err  error
}

func untilDone(ctx context.Context, from io.Reader) io.Reader {
	return &input{ctx: ctx, from: from, chunks: make(chan chunk)}
}

// inputFile returns the file that is read, if it is one.
func inputFile(in io.Reader) (*os.File, bool) {
	if i, ok := in.(*input); ok {
		in = i.from
	}
	f, ok := in.(*os.File)
	return f, ok
}

func (i *input) Read(p []byte) (int, error) {
	i.begin.Do(func() { go i.pump() })
	for len(i.rest) == 0 {
		if i.err != nil {
			return 0, i.err
		}
		select {
		case c := <-i.chunks:
			i.rest, i.err = c.data, c.err
		case <-i.ctx.Done():
			return 0, i.ctx.Err()
		}
	}
	n := copy(p, i.rest)
	i.rest = i.rest[n:]
	return n, nil
}

// pump reads ahead into one of two buffers while the other is used: a chunk is
// taken only when the one before is used up.
func (i *input) pump() {
	var buffers [2][64 << 10]byte
	for n := 0; ; n++ {
		b := buffers[n%2][:]
		size, err := i.from.Read(b)
		select {
		case i.chunks <- chunk{b[:size], err}:
		case <-i.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}
