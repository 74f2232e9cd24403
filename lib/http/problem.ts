import { BrokerError, ERROR_CODES, type SseError } from '../core/errors.js'
import type { AnyResponse } from './exchange.js'

interface Problem {
  readonly title: string
  readonly status: number
  readonly code: string
  readonly detail: string
}

/** An error as a problem document (RFC 9457) with the kit's stable `code`. */
function problemOf(error: SseError): Problem {
  // Messages of Redis and of sockets contain host names, which clients must not get.
  const detail = error instanceof BrokerError ? 'A service behind this one does not answer' : error.message
  return { ...error.members, title: ERROR_CODES[error.code].title, status: error.status, code: error.code, detail }
}

/** A response that can be sent any number of times. */
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

/** Does nothing if the response has begun. */
export function answerProblem(res: AnyResponse, { status, headers, body }: ProblemAnswer): void {
  if (res.headersSent) return
  res.statusCode = status
  for (const [name, value] of headers) res.setHeader(name, value)
  res.end(body)
}

/** Responds with the problem document of an error. Does nothing if the response has begun. */
export function sendProblem(res: AnyResponse, error: SseError): void {
  answerProblem(res, problemAnswer(error))
}
