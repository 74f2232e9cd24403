/**
 * parts of a payload ─► **delivery** ─► deliver once ─► onMessage, onStatus, onUnknown. Owns the effect of a failure:
 * later parts of the same conversation wait for the next delivery, because their order counts. All other parts are
 * handled.
 */
import { compositeKey } from '../../core/composite-key.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError, SseError } from '../../core/errors.js'
import { AppFailure } from '../../http/answering.js'
import type { DeliverOnce } from './deliver-once.js'
import type { InboundMessage, InboundPart, InboundStatus, InboundUnknown, Provider } from './message.js'
import type { ResolvedWebhooksOptions } from './options.js'

type Handlers = Pick<ResolvedWebhooksOptions, 'onMessage' | 'onStatus' | 'onUnknown'>

/** One part, with its handler. */
interface Task {
  /** Identifies the part in all processes. */
  readonly key: string
  /** Identifies the customer and the account. A part without a conversation never waits. */
  readonly conversation: string | undefined
  readonly operation: 'onMessage' | 'onStatus' | 'onUnknown'
  readonly about: { readonly provider: Provider; readonly accountId?: string; readonly messageId?: string }
  readonly handle: () => Promise<void>
}

/** After two store failures in a row the rest is skipped: each further part would wait for the command time-out. */
const MAX_STORE_FAILURES = 2

/**
 * Handles all parts that can be handled.
 * @param digest of the payload's bytes: identifies parts that have no id
 * @returns the number of messages that were handled for the first time
 * @throws AppFailure the first error of a handler
 * @throws SseError if no handler failed: the first other error
 */
export async function deliverParts(
  parts: readonly InboundPart[],
  digest: string,
  handlers: Handlers,
  deliverOnce: DeliverOnce,
): Promise<number> {
  const failures: unknown[] = []
  const waiting = new Set<string>()
  let storeFailures = 0
  let received = 0
  for (const task of tasksOf(parts, digest, handlers)) {
    const { key, conversation, operation, handle } = task
    if (conversation !== undefined && waiting.has(conversation)) continue
    try {
      if ((await deliverOnce.deliver(key, handle, operation)) && operation === 'onMessage') received++
      storeFailures = 0
    } catch (error) {
      failures.push(failureOf(task, error))
      if (conversation !== undefined) waiting.add(conversation)
      storeFailures = error instanceof BrokerError ? storeFailures + 1 : 0
      if (storeFailures === MAX_STORE_FAILURES) break
    }
  }
  if (failures.length > 0) throw failures.find((failure) => failure instanceof AppFailure) ?? failures[0]
  return received
}

/**
 * Reports and wraps errors of a handler, time-outs included. Errors of the store, and of a delivery that is handled
 * elsewhere, are returned unchanged.
 */
function failureOf({ operation, about }: Task, error: unknown): unknown {
  const timedOut = error instanceof SseError && error.code === 'ERR_SSE_CALLBACK_TIMEOUT'
  if (!timedOut && !(error instanceof HandlerError)) return error
  const failure = new AppFailure(operation, timedOut ? error : (error as HandlerError).cause)
  if (diagnostics.webhookError.hasSubscribers) {
    diagnostics.webhookError.publish({ ...about, operation, error: failure.cause })
  }
  return isClientError(failure.cause) ? new AppFailure(operation, withoutStatus(failure.cause)) : failure
}

/** Marks an error that a handler threw or rejected with. The error itself may be any error, also one of the kit. */
class HandlerError extends Error {}

/** Error handlers would answer with the 4xx of the error, but the provider has made no mistake and must retry. */
function isClientError(error: unknown): error is Error {
  const { status, statusCode } = error as { readonly status?: unknown; readonly statusCode?: unknown }
  return [status, statusCode].some((each) => typeof each === 'number' && each < 500)
}

function withoutStatus(cause: Error): Error {
  return new Error(cause.message, { cause })
}

function tasksOf(parts: readonly InboundPart[], digest: string, handlers: Handlers): readonly Task[] {
  const { onMessage, onStatus, onUnknown } = handlers
  const tasks: Task[] = []
  for (const [index, { message, status, unknown }] of parts.entries()) {
    if (message !== undefined) tasks.push(messageTask(message, onMessage))
    else if (status !== undefined) {
      if (onStatus !== undefined) tasks.push(statusTask(status, onStatus))
    } else {
      reportUnknown(unknown, onUnknown !== undefined)
      if (onUnknown !== undefined) {
        const { provider } = unknown
        const key = compositeKey('webhook-unknown', provider, digest, String(index))
        const handle = markingErrors(() => onUnknown(unknown))
        tasks.push({ key, conversation: undefined, operation: 'onUnknown', about: aboutUnknown(unknown), handle })
      }
    }
  }
  return tasks
}

function messageTask(message: InboundMessage, onMessage: Handlers['onMessage']): Task {
  const { provider, accountId, messageId, from } = message
  return {
    key: compositeKey('webhook', provider, messageId),
    conversation: compositeKey(accountId, from),
    operation: 'onMessage',
    about: { provider, accountId, messageId },
    handle: markingErrors(() => onMessage(message)),
  }
}

function statusTask(reported: InboundStatus, onStatus: NonNullable<Handlers['onStatus']>): Task {
  const { provider, accountId, messageId, upTo, to, status } = reported
  const identity = JSON.stringify([accountId, messageId ?? null, upTo ?? null, to ?? null, status])
  return {
    key: compositeKey('webhook-status', provider, identity),
    conversation: to === undefined ? undefined : compositeKey(accountId, to),
    operation: 'onStatus',
    about: { provider, accountId, ...(messageId !== undefined && { messageId }) },
    handle: markingErrors(() => onStatus(reported)),
  }
}

function aboutUnknown({ provider, accountId }: InboundUnknown): Task['about'] {
  return { provider, ...(accountId !== undefined && { accountId }) }
}

function markingErrors(call: () => void | Promise<void>): () => Promise<void> {
  return async () => {
    try {
      await call()
    } catch (cause) {
      throw new HandlerError('', { cause })
    }
  }
}

/** Kinds for which this process has emitted a warning. Bounded, because their names come from outside. */
const warnedKinds = new Set<string>()
const MAX_WARNED_KINDS = 20

/** @param isHandled whether the application has an `onUnknown` */
function reportUnknown(unknown: InboundUnknown, isHandled: boolean): void {
  const { provider, reason, what } = unknown
  if (diagnostics.webhookUnknown.hasSubscribers) {
    diagnostics.webhookUnknown.publish(unknown)
    return
  }
  const kind = `${provider}: ${reason} ${what}`
  if (isHandled || reason === 'left_out' || warnedKinds.has(kind) || warnedKinds.size >= MAX_WARNED_KINDS) return
  warnedKinds.add(kind)
  process.emitWarning(
    `webhooks() ignored a part of a delivery (${kind}). Use onUnknown or subscribe to diagnostics.webhookUnknown`,
    { code: 'SSE_WEBHOOK_UNKNOWN' },
  )
}
