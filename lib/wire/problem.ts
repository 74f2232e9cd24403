import type { ServerResponse } from 'node:http'
import { BrokerError, ERROR_CODES, type SseError } from '../core/errors.js'

interface Problem {
  readonly title: string
  readonly status: number
  readonly code: string
  readonly detail: string
}

/** An error as a problem document (RFC 9457) with the kit's stable `code`. */
function problemOf(error: SseError): Problem {
  // The words of Redis and of sockets name hosts, which are nobody's business outside.
  const detail = error instanceof BrokerError ? 'A service behind this one does not answer' : error.message
  return { ...error.members, title: ERROR_CODES[error.code].title, status: error.status, code: error.code, detail }
}

/** The body of the answer, for whoever sends one many times. */
export function encodeProblem(error: SseError): Buffer {
  return Buffer.from(JSON.stringify(problemOf(error)))
}

/**
 * Answers a request with an error; works on any Node response. Nothing happens if the answer has begun.
 * @param body as `encodeProblem` makes it of the error
 */
export function sendProblem(res: ServerResponse, error: SseError, body = encodeProblem(error)): void {
  if (res.headersSent) return
  res.statusCode = error.status
  for (const [name, value] of Object.entries(error.headers)) res.setHeader(name, value)
  res.setHeader('Content-Type', 'application/problem+json; charset=utf-8')
  res.setHeader('Content-Length', body.length)
  res.setHeader('Cache-Control', 'no-store')
  res.end(body)
}
