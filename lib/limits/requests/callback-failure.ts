import { diagnostics } from '../../core/diagnostics.js'

/** Reports what a function of the application failed with where no request waits for it. */
export function reportFailure(operation: string, error: unknown): void {
  if (diagnostics.limiterError.hasSubscribers) diagnostics.limiterError.publish({ operation, error })
}
