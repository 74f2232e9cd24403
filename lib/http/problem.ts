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

/** An answer that is ready to be sent, any number of times. */
export interface ProblemAnswer {
  readonly status: number
  readonly headers: readonly (readonly [name: string, value: string | number])[]
  readonly body: Buffer
}

export function problemAnswer(error: SseError): ProblemAnswer {
  const body = Buffer.from(JSON.stringify(problemOf(error)))
  return {
    status: error.status,
    headers: [
      ...Object.entries(error.headers),
      ['Content-Type', 'application/problem+json; charset=utf-8'],
      ['Content-Length', body.length],
      ['Cache-Control', 'no-store'],
    ],
    body,
  }
}

/** Works on any Node response. Nothing happens if the answer has begun. */
export function answerProblem(res: ServerResponse, { status, headers, body }: ProblemAnswer): void {
  if (res.headersSent) return
  res.statusCode = status
  for (const [name, value] of headers) res.setHeader(name, value)
  res.end(body)
}

/** Answers a request with an error. */
export function sendProblem(res: ServerResponse, error: SseError): void {
  answerProblem(res, problemAnswer(error))
}
