//go:build linux

package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"
)

// rawRequest writes a request as it is and returns the answer's status, 0 when there is none.
func rawRequest(conn net.Conn, request string) (status int, header http.Header) {
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, nil
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil
	}
	answer.Body.Close()
	return answer.StatusCode, answer.Header
}
