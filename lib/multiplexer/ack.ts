/**
 * client ─► **ack** ─► reader: how a client says what it has handled, to any process.
 *
 *   POST …/ack ─► this process ─┬─ the stream is here: its reader goes on
 *                               └─ else: a signal to the process that its id names
 */
import { hash, randomUUID } from 'node:crypto'
import { isProcessId } from '../broker/broker.js'
import type { Auth } from '../core/auth.js'
import { RequestError } from '../core/errors.js'
import { authOf } from '../http/auth-of.js'
import { readJson } from '../http/body.js'
import type { AnyResponse, Exchange } from '../http/exchange.js'
import type { StreamRequest } from '../http/requester.js'
import type { Ack } from '../wire/contract.js'

/** In place of an owner. Shorter than a hash, so it is nobody's. */
const NOBODY = '-'

/**
 * The id of a stream: the process that has it, a UUID, and to whom it belongs. So any process knows where to send an
 * acknowledgement, and whose it must be: who changes the last part has the id of no stream.
 */
export function streamId(processId: string, auth: Auth | undefined): string {
  const uuid = randomUUID()
  return `${processId}.${uuid}.${ownerTag(uuid, auth)}`
}

/**
 * The process that has the stream.
 * @throws RequestError `ERR_SSE_FORBIDDEN` if it is another user's; `ERR_SSE_STREAM_UNKNOWN` if the id names no process
 */
function processOf(stream: string, auth: Auth | undefined): string {
  const [processId, uuid = '', tag] = stream.split('.')
  if (!isProcessId(processId)) throw streamUnknown()
  if (tag !== ownerTag(uuid, auth)) throw new RequestError('ERR_SSE_FORBIDDEN', 'This stream is not yours')
  return processId
}

function streamUnknown(): RequestError {
  return new RequestError('ERR_SSE_STREAM_UNKNOWN', 'No stream of this id is open')
}

/** Nobody's streams need no hash: whoever has the id of one may acknowledge it, unless somebody is signed in. */
function ownerTag(uuid: string, auth: Auth | undefined): string {
  if (auth === undefined) return NOBODY
  return hash('sha256', JSON.stringify([uuid, auth.tenant, auth.user]), 'base64url').slice(0, 12)
}

/** @throws RequestError `ERR_SSE_ACK_INVALID` */
export function parseAck(body: unknown): Ack {
  const { stream, cursor, buffer, latencyMs } = (body ?? {}) as { readonly [name in keyof Ack]?: unknown }
  if (typeof stream !== 'string' || typeof cursor !== 'string') {
    throw new RequestError('ERR_SSE_ACK_INVALID', 'An acknowledgement is { stream, cursor, buffer?, latencyMs? }')
  }
  if (buffer !== undefined && !(typeof buffer === 'number' && buffer >= 0 && buffer <= 1)) {
    throw new RequestError('ERR_SSE_ACK_INVALID', 'buffer must be a number from 0 to 1')
  }
  if (latencyMs !== undefined && !(typeof latencyMs === 'number' && latencyMs >= 0 && Number.isFinite(latencyMs))) {
    throw new RequestError('ERR_SSE_ACK_INVALID', 'latencyMs must be a number of ms')
  }
  return { stream, cursor, ...(buffer !== undefined && { buffer }), ...(latencyMs !== undefined && { latencyMs }) }
}

/** An acknowledgement with its bytes' worth of JSON is well below this. */
const MAX_BODY_BYTES = 2048

export interface AckRoutes {
  readonly processId: string
  /** @returns whether the stream is here */
  readonly here: (ack: Ack) => boolean
  /** @returns whether there is such a process */
  readonly there: (processId: string, ack: Ack) => Promise<boolean>
}

/** 204: taken into account. 202: passed on to the process that has the stream. */
export async function acknowledge(
  exchange: Exchange,
  req: StreamRequest,
  res: AnyResponse,
  { processId, here, there }: AckRoutes,
): Promise<void> {
  const auth = authOf(req)
  const ack = parseAck(await bodyOf(req, exchange))
  const owner = processOf(ack.stream, auth)
  const isHere = owner === processId
  if (!(isHere ? here(ack) : await there(owner, ack))) throw streamUnknown()
  res.statusCode = isHere ? 204 : 202
  res.end()
}

async function bodyOf(req: StreamRequest, exchange: Exchange): Promise<unknown> {
  try {
    return await readJson(req, exchange, MAX_BODY_BYTES)
  } catch (cause) {
    throw new RequestError('ERR_SSE_ACK_INVALID', `The body must be JSON of at most ${MAX_BODY_BYTES} bytes`, { cause })
  }
}
