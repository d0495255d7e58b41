package settings

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

// KeySize is the length of a cluster key in bytes.
const KeySize = 32

// maxKeys bounds the list of keys: a rotation needs two, and a mistaken file should not pass.
const maxKeys = 8

// NewKey returns a new cluster key as --cluster-key takes it.
func NewKey() string {
	key := make([]byte, KeySize)
	rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}

// cutKeys takes a list of keys apart, separated by commas or white space.
func cutKeys(list string) ([]string, error) {
	words := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
	if len(words) == 0 {
		return nil, fmt.Errorf("no key in it: roomring key makes one")
	}
	if len(words) > maxKeys {
		return nil, fmt.Errorf("%d keys, at most %d", len(words), maxKeys)
	}
	return words, nil
}

// parseAPIKeys reads a list of tokens. Errors name the place in the list, never the token.
func parseAPIKeys(list string) ([]string, error) {
	words, err := cutKeys(list)
	for i, word := range words {
		if !validToken(word) {
			return nil, fmt.Errorf("key %d of %d: want %d to %d printable characters without spaces and commas: roomring key makes a good one", i+1, len(words), minToken, maxToken)
		}
	}
	return words, err
}

// parseKeys reads a list of cluster keys. Errors name the place in the list, never the key.
func parseKeys(list string) ([][]byte, error) {
	words, err := cutKeys(list)
	if err != nil {
		return nil, err
	}
	keys := make([][]byte, len(words))
	for i, word := range words {
		key, err := base64.StdEncoding.DecodeString(word)
		if err != nil {
			return nil, fmt.Errorf("key %d of %d is not base64: roomring key makes one", i+1, len(words))
		}
		if len(key) != KeySize {
			return nil, fmt.Errorf("key %d of %d has %d bytes, not %d: roomring key makes one", i+1, len(words), len(key), KeySize)
		}
		keys[i] = key
	}
	return keys, nil
}

var errToken = fmt.Errorf("want %d to %d printable characters without spaces: roomring key makes a good one", minToken, maxToken)

// parseToken reads one token, with white space around it.
func parseToken(text string) (string, error) {
	token := strings.TrimSpace(text)
	if !validToken(token) {
		return "", errToken
	}
	return token, nil
}

// maxKeyFile bounds what is read of a key file.
const maxKeyFile = 4 << 10

// ReadKeys reads a file of cluster keys, as --cluster-key-file names one. Errors never show a key.
func ReadKeys(file string) ([][]byte, error) { return readSecret(file, parseKeys) }

// ReadAPIKeys reads a file of tokens, as --api-key-file names one. Errors never show a token.
func ReadAPIKeys(file string) ([]string, error) { return readSecret(file, parseAPIKeys) }

// ReadToken reads a file of one token, as --admin-token-file names one. Errors never show it.
func ReadToken(file string) (string, error) { return readSecret(file, parseToken) }

// ReadAdminTokens reads the files of admin tokens again; one that was given without a file stays. Errors
// name the flag, and never show a token.
func (n *Node) ReadAdminTokens() (t AdminTokens, err error) {
	t = n.adminToken
	if file := n.AdminTokenFile; file != "" {
		if t.Full, err = ReadToken(file); err != nil {
			return t, fmt.Errorf("--admin-token-file: %w", err)
		}
	}
	if file := n.AdminReadTokenFile; file != "" {
		if t.Read, err = ReadToken(file); err != nil {
			return t, fmt.Errorf("--admin-read-token-file: %w", err)
		}
	}
	return t, nil
}

// readSecret reads a file with the function that parses it.
func readSecret[S any](name string, parse func(string) (S, error)) (secret S, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return secret, err
	}
	if len(text) > maxKeyFile {
		return secret, fmt.Errorf("%s has %d bytes: that is no key file", name, len(text))
	}
	if secret, err = parse(string(text)); err != nil {
		return secret, fmt.Errorf("%s: %w", name, err)
	}
	return secret, nil
}
