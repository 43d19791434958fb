//go:build tools

// Package tools pins the Gitea server that the tests run.
package tools

import _ "code.gitea.io/gitea"
