package image

import (
	"os"
	"testing"

	"github.com/roomring/roomring/internal/checks/container"
)

func TestMain(m *testing.M) {
	container.Init()
	os.Exit(m.Run())
}
