import type { RequestHandler } from 'express'
import { tokenMissing } from '../auth/token-missing.js'
import { authOf } from '../http/auth-of.js'
import { sendProblem } from '../http/problem.js'

/**
 * Answers 401 unless `authenticate()` has found a good token. For where that is `optional`, so that limits can come in between
 * that are others for who is signed in and who is not.
 */
export function requireAuth(): RequestHandler {
  return (req, res, next) => {
    // Its error goes to Express, as that of every middleware that throws.
    if (authOf(req) === undefined) sendProblem(res, tokenMissing())
    else next()
  }
}
