import { Button, Checkbox, Group, Modal, SegmentedControl } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import { useState } from 'react'
import { call } from '../api/client'
import * as queries from '../api/queries'
import type { ParamSchema, Question } from '../api/types'
import { Page } from '../components/Page'
import { StateMark } from '../components/State'
import { TimeText } from '../components/Time'
import { SchemaField } from '../components/Trigger'
import { Answer, Empty, ProblemView } from '../components/Views'
import { t } from '../i18n'
import { paths } from '../util/paths'
import css from './approvals.module.css'

export function Approvals() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/approvals' })
  const [answered, show] = useState(false)
  const found = useQuery(queries.questions(tenant, answered))
  const [chosen, choose] = useState<Question>()
  // A question whose run is over meanwhile waits for nobody.
  const questions = found.data?.hitl_details.filter((one) => answered || one.task_instance.state === 'awaiting_input')
  return (
    <Page tab={t('nav.approvals')} title={t('approvals.title', { n: answered ? 0 : (questions?.length ?? 0) })}>
      <SegmentedControl
        mb={12}
        aria-label={t('approvals.which')}
        data={[
          { value: 'open', label: t('approvals.open') },
          { value: 'done', label: t('approvals.done') },
        ]}
        value={answered ? 'done' : 'open'}
        onChange={(which) => show(which === 'done')}
      />
      <Answer of={found}>
        {() =>
          questions === undefined || questions.length === 0 ? (
            <div className="panel">
              <Empty icon="hand" title={t(answered ? 'approvals.noneDone' : 'approvals.none')} />
            </div>
          ) : (
            <ul className={css['list']}>
              {questions.map((question) => {
                const { task_instance: task } = question
                return (
                  <li key={`${task.dag_run_id} ${task.task_id} ${task.map_index} ${task.try_number}`} className="panel">
                    <StateMark state="awaiting_input" />
                    <div className={css['what']}>
                      <h2>{question.subject}</h2>
                      <p className="soft small">
                        <Link
                          to="/t/$tenant/dags/$dag/runs/$run/tasks/$task"
                          params={{ tenant, dag: task.dag_id, run: task.dag_run_id, task: task.task_id }}
                          search={task.map_index < 0 ? {} : { map: task.map_index }}
                        >
                          {task.dag_id} / {task.task_id}
                        </Link>{' '}
                        · {t('approvals.asked')} <TimeText at={question.created_at} />
                        {question.assigned_users.length > 0 &&
                          ` · ${t('approvals.for', { who: question.assigned_users.map((user) => user.name).join(', ') })}`}
                      </p>
                      {question.body !== null && <p className={css['body']}>{question.body}</p>}
                      {question.response_received && (
                        <p>
                          {t('approvals.answered', {
                            what: (question.chosen_options ?? []).join(', '),
                            who: question.responded_by_user?.name ?? t('approvals.nobody'),
                          })}{' '}
                          <TimeText at={question.responded_at} />
                        </p>
                      )}
                    </div>
                    {!question.response_received && <Button onClick={() => choose(question)}>{t('approvals.answer')}</Button>}
                  </li>
                )
              })}
            </ul>
          )
        }
      </Answer>
      {chosen !== undefined && <AnswerDialog tenant={tenant} question={chosen} close={() => choose(undefined)} />}
    </Page>
  )
}

function AnswerDialog({ tenant, question, close }: { tenant: string; question: Question; close: () => void }) {
  const { task_instance: task } = question
  const [picked, pick] = useState<string[]>(question.defaults ?? [])
  const params = Object.entries(question.params) as [string, ParamSchema & { schema?: ParamSchema; value?: unknown }][]
  const [values, setValues] = useState<Record<string, unknown>>(
    Object.fromEntries(params.map(([name, param]) => [name, param.value ?? param.default ?? null])),
  )
  const client = useQueryClient()
  const answer = useMutation({
    mutationFn: () =>
      call(paths.of(tenant).question(task.dag_id, task.dag_run_id, task.task_id, task.map_index), {
        method: 'PATCH',
        body: { chosen_options: picked, params_input: values },
      }),
    onSuccess: () => {
      close()
      for (const key of ['questions', 'home', 'grid', 'task']) void client.invalidateQueries({ queryKey: [key, tenant] })
    },
  })
  return (
    <Modal opened onClose={close} title={question.subject}>
      {question.body !== null && <p className={css['body']}>{question.body}</p>}
      {params.map(([name, param]) => (
        <SchemaField
          key={name}
          name={name}
          schema={param.schema ?? param}
          value={values[name]}
          set={(value) => setValues((old) => ({ ...old, [name]: value }))}
        />
      ))}
      {question.multiple ? (
        <Checkbox.Group value={picked} onChange={pick} label={t('approvals.choose')}>
          <Group>
            {question.options.map((option) => (
              <Checkbox key={option} value={option} label={option} />
            ))}
          </Group>
        </Checkbox.Group>
      ) : (
        <SegmentedControl
          fullWidth
          mt={12}
          aria-label={t('approvals.choose')}
          data={question.options}
          value={picked[0] ?? ''}
          onChange={(one) => pick([one])}
        />
      )}
      {answer.isError && <ProblemView error={answer.error} />}
      <div className="bar" style={{ marginTop: 16 }}>
        <Button disabled={picked.length === 0} loading={answer.isPending} onClick={() => answer.mutate()}>
          {picked.length === 0 ? t('approvals.answer') : t('approvals.send', { what: picked.join(', ') })}
        </Button>
        <Button variant="default" onClick={close}>
          {t('action.cancel')}
        </Button>
      </div>
    </Modal>
  )
}
