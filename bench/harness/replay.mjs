/** Shared by the Node servers of `join`: a log that is full before the first client connects, behind Express. */
import { createServer } from 'node:http'
import express from 'express'
import { DATA, listening } from './driver.mjs'

/** Events in the log. */
export const HISTORY = 1000
/** Large enough for a thousand clients at once. Otherwise TCP would retry a refused connection a second later. */
const BACKLOG = 4096

/** The log, for servers without one. Ids are 1, 2, 3 …. */
export const log = Array.from({ length: HISTORY }, (_, i) => ({ id: String(i + 1), data: DATA }))

/** The events after the one with this id. */
export function missedBy(lastEventId) {
  return log.slice(Number(lastEventId))
}

/**
 * Serves `GET /` and reports the URL to the parent.
 * @param cursors of the log, oldest first: what a client that has seen an event sends as Last-Event-ID
 */
export function serveReplay(handler, { cursors = log.map(({ id }) => id), pastExpress = false } = {}) {
  const server = createServer(pastExpress ? (req, res) => handler(req, res, fail) : express().get('/', handler)).listen(
    { port: 0, host: '127.0.0.1', backlog: BACKLOG },
    () => listening(server.address().port, () => undefined, [process.pid], { cursors }),
  )
}

function fail(error) {
  throw error
}
