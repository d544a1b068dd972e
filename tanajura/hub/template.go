package hub

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/formicarium/formicarium/internal/api"
)

// configName is the one file of git configuration that every git process of
// the hub reads, as its global one. Settings stand there and not in each
// repository, so that a hub of a newer version rules old repositories too.
const configName = ".gitconfig"

// gitConfig is that file. It takes the largest push in bytes.
const gitConfig = `# Written by tanajura at each start.
[core]
	hooksPath = /dev/null
	logAllRefUpdates = false
	# Above this size objects are streamed and not compared with each other.
	bigFileThreshold = 16m
	# Packs that come by git are synced, those of saves and refs are not: that
	# is some milliseconds of each save, or many on a slow disk. A machine that
	# loses power may lose the last saves, which the next sync brings again; see
	# heal for what is left empty.
	fsync = -reference
[safe]
	# A volume's root may belong to another user than the one the hub runs as.
	directory = *
[gc]
	auto = 0
	# There is a branch or two, and packing it would take its lock from a push.
	packRefs = false
	# Walks here are short, and a cut history would make the graph wrong.
	writeCommitGraph = false
[receive]
	autogc = false
	denyDeletes = false
	denyDeleteCurrent = ignore
	denyNonFastForwards = false
	maxInputSize = %d
	# Every push is kept as the pack it is: a collection removes directories of
	# loose objects that it has emptied, and where a push was about to move an
	# object into one, git refuses the push.
	unpackLimit = 1
	fsckObjects = true
[receive "fsck"]
	# Harmless slips that old tools left in many a history.
	badDateOverflow = ignore
	badTimezone = ignore
	missingEmail = ignore
	missingNameBeforeEmail = ignore
	missingSpaceBeforeDate = ignore
	missingSpaceBeforeEmail = ignore
	zeroPaddedDate = ignore
	zeroPaddedFilemode = ignore
[uploadpack]
	# A Stinger asks for the commit it was told of, be it a branch's tip or not.
	allowAnySHA1InWant = true
	allowFilter = true
[pack]
	threads = 1
	# A fetch waits for its pack. Looking for differences between thousands of
	# files takes seconds, to save some bytes on the way to the next machine;
	# those that there are already are sent. Collections look, see packWindow.
	window = 0
	windowMemory = 32m
	deltaCacheSize = 32m
[repack]
	writeBitmaps = false
`

// repositoryConfig is what makes a directory a bare repository to any git.
const repositoryConfig = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n[http]\n\treceivepack = true\n"

func writeConfig(dir string, limits Limits) error {
	text := fmt.Sprintf(gitConfig, limits.Push)
	path := filepath.Join(dir, configName)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing git's configuration: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing git's configuration: %w", err)
	}
	return nil
}

// makeRepository makes an empty bare repository in a new directory under
// parent and returns its path. It is what `git init --bare` leaves, without
// the process.
func makeRepository(parent string) (path string, err error) {
	path, err = os.MkdirTemp(parent, "new-")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(path)
		}
	}()
	for _, dir := range []string{"objects/info", "objects/pack", "refs/heads", "refs/tags", "info"} {
		if err := os.MkdirAll(filepath.Join(path, dir), 0o700); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(path, "config"), []byte(repositoryConfig), 0o600); err != nil {
		return "", err
	}
	head := "ref: refs/heads/" + api.HubBranch + "\n"
	return path, os.WriteFile(filepath.Join(path, "HEAD"), []byte(head), 0o600)
}
