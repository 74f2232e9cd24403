/** The errors of the application as problem documents (RFC 9457) with a code, in the same form as those of the kit. */
import type { ErrorRequestHandler, Response } from 'express'
import type { LogLine } from './log.js'
import { StoreUnavailableError } from './store/redis-client.js'

const PROBLEMS = Object.freeze({
  ERR_INBOX_BODY_INVALID: { status: 400, title: 'Invalid body' },
  ERR_INBOX_LOGIN_INVALID: { status: 400, title: 'Invalid sign-in' },
  ERR_INBOX_TEXT_INVALID: { status: 400, title: 'Invalid text' },
  ERR_INBOX_KEY_INVALID: { status: 400, title: 'Invalid Idempotency-Key' },
  ERR_INBOX_KEY_REUSED: { status: 422, title: 'Idempotency-Key used for another message' },
  ERR_INBOX_NOT_FOUND: { status: 404, title: 'Not found' },
  ERR_INBOX_CONVERSATION_NOT_FOUND: { status: 404, title: 'No such conversation' },
  ERR_WORKBENCH_INVALID: { status: 400, title: 'Invalid setting' },
  ERR_WORKBENCH_FOREIGN: { status: 403, title: 'Not from another origin' },
  ERR_WORKBENCH_CLIENT_NOT_FOUND: { status: 404, title: 'No such client' },
  ERR_WORKBENCH_SCENARIO_NOT_FOUND: { status: 404, title: 'No such scenario' },
  ERR_WORKBENCH_FULL: { status: 409, title: 'The workbench is full' },
  ERR_INBOX_UNAVAILABLE: { status: 503, title: 'Temporarily unavailable' },
  ERR_INBOX_INTERNAL: { status: 500, title: 'Internal error' },
} as const)

type ProblemCode = keyof typeof PROBLEMS

export class Problem extends Error {
  readonly code: ProblemCode
  /** Read by Express if no error handler answers. */
  readonly status: number

  constructor(code: ProblemCode, detail: string) {
    super(detail)
    this.code = code
    this.status = PROBLEMS[code].status
  }
}

function sendProblem(res: Response, { code, message }: Pick<Problem, 'code' | 'message'>): void {
  const { status, title } = PROBLEMS[code]
  if (status === 503) res.set('Retry-After', '1')
  res.status(status).set('Cache-Control', 'no-store').type('application/problem+json')
  res.send(JSON.stringify({ title, status, code, detail: message }))
}

/** The last error handler. It answers the errors that the routes and the kit's own handler have not answered. */
export function problems(log: LogLine): ErrorRequestHandler {
  return (error: unknown, req, res, next) => {
    if (res.headersSent) {
      next(error)
      return
    }
    const problem = toProblem(error)
    const { status } = PROBLEMS[problem.code]
    // Without the query, because that may contain a token.
    if (status >= 500) log('error', 'request', { method: req.method, path: req.path, error })
    sendProblem(res, problem)
  }
}

function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof StoreUnavailableError)
    return new Problem('ERR_INBOX_UNAVAILABLE', 'The store is temporarily unavailable')
  // Express's body parser and router mark errors of the client.
  const { status, type } = error as { readonly status?: unknown; readonly type?: unknown }
  if (typeof type === 'string' && /^(entity|encoding|request|charset|stream)\./.test(type)) {
    return new Problem('ERR_INBOX_BODY_INVALID', 'The body must be JSON of at most 64 kB')
  }
  if (status === 400) return new Problem('ERR_INBOX_NOT_FOUND', 'The path is malformed')
  return new Problem('ERR_INBOX_INTERNAL', 'Internal error. It has been logged.')
}
